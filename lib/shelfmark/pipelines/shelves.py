"""`shelfmark recognise --boxes` and `--detector`: the product in each box of shelf photographs, and their counts.

PHOTOGRAPH.png, PHOTOGRAPH.csv   the photograph with its boxes and their answers; a line a box
counts.csv                       a line for each product of a photograph
unknown.json                     the boxes that no product answers as annotations, a class a group
unknown_1.jpg, ...               what is in each group, the largest first
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from shelfmark.calibration.promise.promise import Promise
from shelfmark.config.overrides import Override
from shelfmark.core.door import command_line
from shelfmark.core.files import unused_path
from shelfmark.core.folders import atomic_folder
from shelfmark.core.heartbeat import beat
from shelfmark.core.log import warn
from shelfmark.core.stopping import raise_if_stopped
from shelfmark.data.boxes import Crop, box_texts
from shelfmark.data.images import decode_rgb, upright_size
from shelfmark.data.sources import UnreadableImage
from shelfmark.data.sources.files import read_file
from shelfmark.data.told_notices import tell_notices
from shelfmark.pipelines.recognise import Recognition, answers_to, promise_for, require_shared_classes
from shelfmark.pipelines.shelf_answers import (
    UNKNOWN,
    Shelf,
    ShelfBox,
    common_folder,
    write_counts,
    write_shelf_table,
    write_unknown,
)
from shelfmark.reports.figures import save
from shelfmark.reports.shelf_picture import shelf_figure
from shelfmark.reports.thumbnails import small_jpeg
from shelfmark.retrieval.stores import Place
from shelfmark.runtime.box_finders import BoxFinder
from shelfmark.runtime.joint_answers import SearchSettings
from shelfmark.runtime.searcher import Searcher, require_images
from shelfmark.runtime.unknown_groups import unknown_groups

FOLDER = "shelves"
_AT_ONCE = 64
"""Boxes that are embedded together: of more, reading processes would be started each time."""
_SHOWN_PX, _SHOWN_ACROSS, _MOST_SHOWN = 128, 8, 64


@dataclass(frozen=True)
class Shelves:
    """folder: of the files. unknown: the annotations of unknown boxes, None where there are none. adds: the command
    that adds these to the index."""

    shelves: tuple[Shelf, ...]
    folder: Path
    unknown: Path | None
    num_groups: int
    adds: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "photographs": [shelf.as_json() for shelf in self.shelves],
            "folder": self.folder,
            "unknown": self.unknown,
            "num_groups": self.num_groups,
        }


def recognise_shelves(
    folder: Path,
    photos: Sequence[Path],
    finder: BoxFinder,
    *,
    out: Path | None = None,
    checkpoint: Path | None = None,
    overrides: Sequence[Override] = (),
    place: Place | None = None,
    where: Sequence[str] = (),
    k: int = 10,
    weight: float = 0.5,
    temperature: float = 0.1,
    topk: int = 5,
) -> Shelves:
    """An answer for each box that the finder has in each photograph, as of `recognise`, and the files of it.

    out: folder for the files (default: `shelves` in the run folder of the model); an existing one is left as it is, and
    another number is taken. Boxes are cut out with the model's data.box_margin. A photograph that cannot be read, and a
    box outside of its photograph, has the reason in place of an answer.
    """
    settings = SearchSettings(k, weight, temperature)
    searcher = Searcher.open(folder, checkpoint, overrides, place=place, where=where)
    require_images(searcher, folder, k)
    require_shared_classes(searcher.index, folder)
    answering = _Answering(searcher, settings, promise_for(searcher, folder, settings), topk)
    target = unused_path(out or searcher.model.run_folder / FOLDER)
    with atomic_folder(target, is_ours=lambda folder: False) as part:
        grouped, num_groups = _grouped(answering, [_shelf(answering, photo, finder) for photo in photos])
        write_counts(part / "counts.csv", grouped)
        found = [_written(answering.data, shelf, part, target) for shelf in grouped]
        if num_groups:
            write_unknown(part / "unknown.json", found, *answering.known_classes())
            _write_sheets(part, answering, found)
    if not num_groups:
        return Shelves(tuple(found), target, None, 0)
    unknown = target / "unknown.json"
    adds = command_line("index add", "--index", folder, "--annotations", unknown, f"data.root={common_folder(found)}")
    return Shelves(tuple(found), target, unknown, num_groups, adds)


class _Answering:
    """What all photographs share, and what is kept of unknown boxes: their features and small pictures, in order."""

    def __init__(self, searcher: Searcher, settings: SearchSettings, promise: Promise | None, topk: int) -> None:
        self.searcher, self.settings, self.promise, self.topk = searcher, settings, promise, topk
        self.features: list[np.ndarray] = []
        self.shown: list[bytes] = []

    @property
    def data(self) -> Any:
        return self.searcher.model.recipe.data

    def answers(self, names: Sequence[str], crops: Sequence[np.ndarray]) -> Iterator[tuple[Recognition, np.ndarray]]:
        """The answer about each crop, and its feature (D,)."""
        for start in range(0, len(crops), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            found = self.searcher.embed(crops[part]).features
            yield from zip(answers_to(self.searcher, names[part], found, self.settings, self.promise, self.topk), found)

    def keep(self, feature: np.ndarray, crop: np.ndarray) -> None:
        self.features.append(feature)
        self.shown.append(small_jpeg(crop, _SHOWN_PX))

    def known_classes(self) -> tuple[dict[int, str], int]:
        """Names of the classes of model and index, by label, and the first label of no class."""
        model, records = self.searcher.model, self.searcher.index.records
        names = {**dict(enumerate(model.class_names or ())), **records.names}
        return names, max(model.num_classes, int(records.labels.max(initial=-1)) + 1)


def _shelf(answering: _Answering, photo: Path, finder: BoxFinder) -> Shelf:
    """The photograph's answers."""
    beat("shelf photograph")
    raise_if_stopped()
    try:
        pixels, size = _read(photo, answering.data)
        tell_notices()
    except UnreadableImage as error:
        return Shelf(str(photo), error.reason)
    found = finder.find(photo, pixels)
    boxes = _answered(answering, str(photo), found.boxes, found.scores, pixels, size)
    return Shelf(str(photo), None, tuple(boxes))


def _written(data: Any, shelf: Shelf, part: Path, target: Path) -> Shelf:
    """The photograph with its files, which are written to `part` and named as in `target`.

    Its pixels are read again: groups are known behind the last photograph, and all at once would not fit in memory.
    """
    if shelf.error is not None:
        return shelf
    beat("shelf picture")
    raise_if_stopped()
    table = unused_path(part / f"{Path(shelf.photo).stem or 'photograph'}.csv")
    picture = table.with_suffix(".png")
    write_shelf_table(table, shelf.boxes)
    named = replace(shelf, table=target / table.name)
    try:
        pixels, size = _read(Path(shelf.photo), data)
    except UnreadableImage as error:
        warn(f"{shelf.photo} could not be read again to draw its boxes: {error.reason}")
        return named
    signed, lines = shelf.signed()
    scale = pixels.shape[1] / size[0]
    drawn = [one._replace(box=[value * scale for value in one.box]) for one in signed]
    save(shelf_figure(pixels, drawn, lines), picture)
    return replace(named, picture=target / picture.name)


def _read(photo: Path, data: Any) -> tuple[np.ndarray, tuple[int, int]]:
    """The upright pixels (H, W, 3), and width and height of the file's picture. UnreadableImage."""
    content = read_file(photo, data.max_image_bytes)
    pixels = decode_rgb(content, str(photo), data.max_image_pixels, data.color_profiles)
    return pixels, upright_size(content, str(photo))


def _answered(
    answering: _Answering,
    photo: str,
    boxes: np.ndarray,
    scores: np.ndarray | None,
    pixels: np.ndarray,
    size: tuple[int, int],
) -> list[ShelfBox]:
    names = [photo + text for text in box_texts(boxes)]
    crops: dict[int, np.ndarray] = {}
    answers: dict[int, Recognition] = {}
    for row, (x, y, width, height) in enumerate(boxes.tolist()):
        crop = Crop(x, y, width, height, answering.data.box_margin)
        try:
            places = crop.slices(size, (pixels.shape[1], pixels.shape[0]))
            crops[row] = pixels[places]
        except ValueError as error:
            answers[row] = Recognition(names[row], str(error))
    of_crops = answering.answers([names[row] for row in crops], list(crops.values()))
    features = {}
    for row, (answer, feature) in zip(crops, of_crops):
        answers[row], features[row] = answer, feature
    found = []
    for row, box in enumerate(boxes.tolist()):
        score = None if scores is None else float(scores[row])
        one = ShelfBox(tuple(round(value, 2) for value in box), score, answers[row])
        if one.kind == UNKNOWN:
            answering.keep(features[row], crops[row])
        found.append(one)
    return found


def _grouped(answering: _Answering, shelves: Sequence[Shelf]) -> tuple[list[Shelf], int]:
    """The photographs with the groups of their unknown boxes, and how many groups there are."""
    if not answering.features:
        return list(shelves), 0
    groups = unknown_groups(answering.searcher, np.stack(answering.features))
    numbers = iter((groups + 1).tolist())
    found = []
    for shelf in shelves:
        boxes = tuple(replace(one, group=next(numbers)) if one.kind == UNKNOWN else one for one in shelf.boxes)
        found.append(replace(shelf, boxes=boxes))
    return found, int(groups.max()) + 1


def _write_sheets(part: Path, answering: _Answering, shelves: Sequence[Shelf]) -> None:
    """For each group a picture of its boxes, at most 64."""
    groups = [one.group for shelf in shelves for one in shelf.boxes if one.group is not None]
    for group in range(1, max(groups) + 1):
        rows = [row for row, one in enumerate(groups) if one == group][:_MOST_SHOWN]
        high = -(-len(rows) // _SHOWN_ACROSS)
        across = min(len(rows), _SHOWN_ACROSS)
        sheet = np.full((high * _SHOWN_PX, across * _SHOWN_PX, 3), 255, np.uint8)
        for number, row in enumerate(rows):
            crop = decode_rgb(answering.shown[row], "")
            top, left = (_SHOWN_PX * place for place in divmod(number, _SHOWN_ACROSS))
            sheet[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
        cv2.imwrite(str(part / f"unknown_{group}.jpg"), sheet[..., ::-1])
