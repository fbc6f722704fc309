"""Data sets of products inside photographs: the files made of every one, and how their boxes are mended.

train.json           data.train_json: the boxes of the training photographs
val.json             data.val_json: those of the validation photographs
test_labelled.json   those of the test photographs, for `shelfmark evaluate`
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shelfmark.core.errors import UserError
from shelfmark.core.rng import numpy_generator
from shelfmark.core.text_safety import in_line
from shelfmark.core.wording import counted
from shelfmark.data.converters.pictures import Picture, class_names, require_pictures
from shelfmark.data.converters.prepared import Prepared, write_new
from shelfmark.data.documents import annotations_json

LEAST_PX = 1.0
_PART_FILES = {"train": "train", "val": "val", "test": "test_labelled"}


@dataclass
class Mended:
    """Counts the boxes that were cut at the edge of their picture, and those of which nothing was left; and where the
    first of each was."""

    num_cut: int = 0
    num_dropped: int = 0
    first_cut: str = ""
    first_dropped: str = ""

    def box(self, corners: Sequence[float], size: tuple[int, int] | None, where: str) -> tuple[float, ...] | None:
        """x, y, width and height of a box by its corners (left, upper, right, lower), cut at the picture's edge.

        size: width and height of the picture; None where they are not known. where: for the note on the first such box.
        None: less than a pixel of the box is left.
        """
        left, upper, right, lower = corners
        width, height = size or (float("inf"), float("inf"))
        inside = (max(0.0, left), max(0.0, upper), min(right, width), min(lower, height))
        x, y = inside[:2]
        found = (x, y, inside[2] - x, inside[3] - y)
        if min(found[2:]) < LEAST_PX:
            self.num_dropped += 1
            self.first_dropped = self.first_dropped or where
            return None
        if inside != (left, upper, right, lower):
            self.num_cut += 1
            self.first_cut = self.first_cut or where
        return tuple(_plain(one) for one in found)

    def notes(self) -> Iterator[str]:
        if self.num_cut:
            boxes = counted(self.num_cut, "box")
            yield f"{boxes} reached over the edge of a picture and ends there now: {self.first_cut}"
        if self.num_dropped:
            boxes = counted(self.num_dropped, "box")
            yield f"{boxes} left out, with less than a pixel in the picture: {self.first_dropped}"


@dataclass(frozen=True)
class BoxedSet:
    """base: becomes data.root. parts: the boxes of `train`, and of `val` and `test` where there are such.

    names: the classes in the order of their numbers; None sorts those that occur. where: how to get the data.
    """

    base: Path
    parts: Mapping[str, Sequence[Picture]]
    where: str
    names: Sequence[str] | None = None
    notes: Sequence[str] = ()


def prepare_boxed(dataset: BoxedSet, out: Path, val_fraction: float, seed: int) -> Prepared:
    """Writes the annotations to `out`; the pictures stay where they are, paths are relative to `dataset.base`.

    Without a val part, `val_fraction` of the training photographs, drawn by `seed`, is val: all boxes of a photograph
    are on one side.
    """
    parts = {name: list(dataset.parts.get(name, ())) for name in _PART_FILES}
    if not parts["train"]:
        raise UserError(f"{dataset.base} has no box in its training part. {dataset.where}")
    for pictures in parts.values():
        require_pictures(dataset.base, pictures, dataset.where)
    _require_apart(dataset, parts)
    if not parts["val"]:
        parts["train"], parts["val"] = hold_out_photographs(parts["train"], val_fraction, seed)
    names = list(dataset.names or class_names(picture for pictures in parts.values() for picture in pictures))
    labels = {name: label for label, name in enumerate(names)}
    files = {part: out / f"{_PART_FILES[part]}.json" for part, pictures in parts.items() if pictures}
    write_new(
        {
            file: annotations_json((picture.record(labels) for picture in parts[part]), len(names), names)
            for part, file in files.items()
        }
    )
    options: dict[str, Path | str] = {"data.root": dataset.base}
    options |= {f"data.{part}_json": files[part] for part in ("train", "val") if part in files}
    return Prepared(
        files={file: _content(parts[part]) for part, file in files.items()},
        options=options,
        notes=(*dataset.notes, *_notes(parts, files)),
    )


def hold_out_photographs(
    pictures: Sequence[Picture], fraction: float, seed: int
) -> tuple[list[Picture], list[Picture]]:
    """The boxes of the photographs that stay, and those of a random `fraction` of the photographs, held out.

    At least one photograph is on each side; with the fraction 0 no photograph is held out.
    """
    if not 0 <= fraction < 1:
        raise UserError(f"--val-fraction {fraction} must lie from 0 to below 1: it is the part of the photographs.")
    photographs = sorted({picture.path for picture in pictures})
    if not fraction:
        return list(pictures), []
    if len(photographs) < 2:
        raise UserError("one photograph cannot be divided into train and val: give --val-fraction 0, or add some.")
    number = min(max(1, round(fraction * len(photographs))), len(photographs) - 1)
    drawn = numpy_generator(seed, "validation photographs").permutation(len(photographs))[:number]
    held = {photographs[row] for row in drawn.tolist()}
    return (
        [picture for picture in pictures if picture.path not in held],
        [picture for picture in pictures if picture.path in held],
    )


def _require_apart(dataset: BoxedSet, parts: Mapping[str, Sequence[Picture]]) -> None:
    trained = {picture.path for picture in parts["train"]}
    for part in ("val", "test"):
        shared = sorted({picture.path for picture in parts[part]} & trained)
        if shared:
            raise UserError(
                f"{dataset.base}: {counted(len(shared), 'photograph')} of {part} are in train too, such as {shared[0]}:"
                " a score would be taken on what was learned. Correct the lists."
            )


def _content(pictures: Sequence[Picture]) -> str:
    photographs = counted(len({picture.path for picture in pictures}), "photograph")
    classes = counted(len({picture.name for picture in pictures}), "class")
    return f"{counted(len(pictures), 'box')} in {photographs}, {classes}"


def _notes(parts: Mapping[str, Sequence[Picture]], files: Mapping[str, Path]) -> Iterator[str]:
    trained = {picture.name for picture in parts["train"]}
    for part in ("val", "test"):
        if new := sorted({picture.name for picture in parts[part]} - trained):
            some = in_line(new, 5)
            yield f"{part}: {counted(len(new), 'class')} without a training box, so no answer can be right: {some}"
    if "test" in files:
        yield f"the test: shelfmark evaluate --RESUME_MODEL CKPT data.val_json={files['test']}"


def _plain(value: float) -> float:
    """To hundredths of a pixel, and whole numbers as such."""
    rounded = round(value, 2)
    return int(rounded) if rounded == int(rounded) else rounded
