"""Pictures that a foreign file lists, as annotations of ours. Legend: N rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.core.text_safety import in_line
from shelfmark.core.wording import counted
from shelfmark.data import findings as problem
from shelfmark.data.box_checks import checked_boxes
from shelfmark.data.class_map import class_key
from shelfmark.data.converters.pictures import natural
from shelfmark.data.converters.prepared import Prepared, write_new
from shelfmark.data.documents import annotations_json, image_list_json
from shelfmark.data.findings import Findings, ImagesFolder, Places
from shelfmark.data.holdout import stratified_draw
from shelfmark.data.identity import identities
from shelfmark.data.parquet_records import annotations_parquet, image_list_parquet
from shelfmark.data.path_checks import check_paths

FORMS = ("json", "parquet")
TRAIN, VAL, TEST = "train", "val", "test"
_NUM_SHOWN = 5


@dataclass
class ForeignRows:
    """The rows of one file. places: where they are in it.

    paths: (N,) relative to the folder of the pictures, or absolute in it. labels: (N,) names of classes; empty where a
    row has none. parts: (N,) train, val or test; empty text where the file does not say. boxes: (N, 4) float64, NaN for
    the whole picture. more: (N,) values of further fields of our format by their name, None for no value.
    findings: what is wrong with rows so far. stays: (N,) bool, the rows that become records, None for all; the others
    only keep the numbers of the rows those of the file.
    """

    file: Path
    paths: list[str]
    labels: list[str]
    parts: list[str]
    findings: Findings
    places: Places = field(default_factory=Places)
    boxes: np.ndarray | None = None
    more: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    stays: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def kept(self) -> ForeignRows:
        """The rows that stay, without places in the file."""
        if self.stays is None:
            return self
        rows = np.flatnonzero(self.stays).tolist()
        paths, labels, parts = ([of[row] for row in rows] for of in (self.paths, self.labels, self.parts))
        more = {name: [values[row] for row in rows] for name, values in self.more.items()}
        boxes = None if self.boxes is None else self.boxes[rows]
        return ForeignRows(self.file, paths, labels, parts, Findings(), boxes=boxes, more=more)


@dataclass(frozen=True)
class Classes:
    """names: in the order of their numbers; none where the labels say them. groups: of classes, by their names."""

    names: Sequence[str] = ()
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """given: the folder of the pictures. out: where annotations go, as `form` says: json or parquet."""

    given: ImagesFolder
    out: Path
    val_fraction: float
    seed: int
    form: str = FORMS[0]

    @property
    def images(self) -> Path:
        return self.given.folder


def prepare_rows(files: Sequence[ForeignRows], classes: Classes, wanted: Wanted, notes: Sequence[str] = ()) -> Prepared:
    """Writes train, val and test annotations of all rows. The pictures stay where they are.

    Rows without a part are divided: `val_fraction` of each class is val, by pictures; each class keeps one for train.
    Raises a UserError with everything that is wrong, before a file is written.
    """
    for rows in files:
        _check(rows, wanted.given)
    whole = _joined([rows.kept() for rows in files])
    names = list(classes.names) or _named(whole)
    if "" in whole.parts:
        whole = replace(whole, parts=_divided(whole, wanted))
    _require_trained(whole, names, has_own=bool(classes.names))
    contents = _contents(whole, names, classes.groups, wanted)
    write_new(contents)
    return Prepared(
        files={path: _told(whole, path) for path in contents},
        options=_options(contents, wanted),
        notes=(*notes, *_empty_notes(whole, names)),
        warnings=tuple(_near_names(names)),
    )


def _check(rows: ForeignRows, images: ImagesFolder) -> None:
    stays = np.ones(len(rows), dtype=bool) if rows.stays is None else rows.stays
    if not stays.any():
        raise UserError(f"{rows.file} lists no picture.")
    paths = [path if is_kept else "" for path, is_kept in zip(rows.paths, stays.tolist())]
    for row in [row for row in np.flatnonzero(stays).tolist() if not paths[row]]:
        rows.findings.error(row, problem.MISSING_FIELD, "the path is empty")
    labels = np.array(_numbers(rows.labels), dtype=np.int64)
    given = None if rows.boxes is None else np.where(stays[:, None], rows.boxes, np.nan)
    boxes = checked_boxes(given, rows.findings)
    names = list(dict.fromkeys(label for label in rows.labels if label))
    check_paths(Strings.of(paths), labels, images.folder, (), True, rows.findings, boxes, names)
    rows.findings.keep_alone(problem.CELLS)
    rows.findings.settle(rows.file, paths, places=rows.places, images=images)


def _numbers(labels: Sequence[str]) -> list[int]:
    """A number for each name, in the order in which names first occur; -1 for none."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(label, len(numbers)) if label else -1 for label in labels]


def _joined(files: Sequence[ForeignRows]) -> ForeignRows:
    if len(files) == 1:
        return files[0]
    names = dict.fromkeys(name for rows in files for name in rows.more)
    boxes = None
    if any(rows.boxes is not None for rows in files):
        boxes = np.concatenate([np.full((len(r), 4), np.nan) if r.boxes is None else r.boxes for r in files])
    return ForeignRows(
        files[0].file.parent,
        [path for rows in files for path in rows.paths],
        [label for rows in files for label in rows.labels],
        [part for rows in files for part in rows.parts],
        Findings(),
        boxes=boxes,
        more={name: [value for rows in files for value in rows.more.get(name, [None] * len(rows))] for name in names},
    )


def _named(rows: ForeignRows) -> list[str]:
    """The names of the classes, sorted, with numbers in them by their value. Two ways to write one name are refused."""
    names = sorted(set(rows.labels) - {""}, key=lambda name: (natural(name), name))
    by_key: dict[str, str] = {}
    for name in names:
        other = by_key.setdefault(class_key(name), name)
        if other != name:
            raise UserError(
                f"{rows.file}: the labels {other!r} and {name!r} differ in blanks around them or in the form of Unicode"
                " alone, and would be one class to every command. Write one of the two everywhere."
            )
    return names


def _divided(rows: ForeignRows, wanted: Wanted) -> list[str]:
    """The part of each row, where rows without one are drawn: all rows of a picture go to the same part."""
    if not 0 < wanted.val_fraction < 1:
        raise UserError(f"--val-fraction {wanted.val_fraction} must lie between 0 and 1, both excluded.")
    labels = np.array(_numbers(rows.labels), dtype=np.int64)
    pictures: dict[str, int] = {}
    picture_of = np.array([pictures.setdefault(one, len(pictures)) for one in identities(rows.paths, wanted.images)])
    first = np.full(len(pictures), -1)
    is_open = np.array([not part for part in rows.parts])
    for row in np.flatnonzero(labels >= 0)[::-1].tolist():
        first[picture_of[row]] = labels[row]
    candidates = np.zeros(len(pictures), dtype=bool)
    candidates[picture_of[is_open]] = True
    drawn = stratified_draw(first, candidates, wanted.val_fraction, wanted.seed)[picture_of] & is_open
    # A class all of whose pictures were drawn for another of their products keeps its first one for training.
    for label in np.setdiff1d(labels[drawn], labels[~drawn]).tolist():
        if label >= 0 and not (~drawn & (labels == label)).any():
            drawn &= picture_of != picture_of[np.flatnonzero(labels == label)[0]]
    if not drawn.any():
        found = counted(len(pictures), "picture")
        raise UserError(
            f"{rows.file}: of {found} none goes to val at --val-fraction {wanted.val_fraction}: each class keeps"
            " one for training. Raise it, or give the parts in the file."
        )
    return [part or (VAL if is_val else TRAIN) for part, is_val in zip(rows.parts, drawn.tolist())]


def _require_trained(rows: ForeignRows, names: Sequence[str], has_own: bool) -> None:
    trained = {label for label, part in zip(rows.labels, rows.parts) if part == TRAIN and label}
    if not trained:
        raise UserError(f"{rows.file} has no labelled row for train, so there is nothing to train on.")
    unseen = Counter(label for label, part in zip(rows.labels, rows.parts) if part == VAL and label not in trained)
    unseen.pop("", None)
    if unseen and not has_own:
        told = in_line(list(unseen), _NUM_SHOWN)
        raise UserError(
            f"{rows.file}: {counted(len(unseen), 'class')} of val {'is' if len(unseen) == 1 else 'are'} not in train:"
            f" {told}. Scores of classes that were never trained mean nothing; for new classes see data.retrieval_json."
        )


def _contents(rows: ForeignRows, names: Sequence[str], groups: Mapping[str, str], wanted: Wanted) -> dict[Path, bytes]:
    annotations, image_list = (
        (annotations_json, image_list_json) if wanted.form == "json" else (annotations_parquet, image_list_parquet)
    )
    numbers = {name: number for number, name in enumerate(names)}
    of_classes = [groups.get(name, "") for name in names] if groups else []
    contents: dict[Path, bytes] = {}
    for part, stem in ((TRAIN, "train"), (VAL, "val"), (TEST, "test_labelled")):
        chosen = [row for row, found in enumerate(rows.parts) if found == part and (part != TEST or rows.labels[row])]
        if chosen:
            records = _records(rows, chosen, numbers)
            contents[wanted.out / f"{stem}.{wanted.form}"] = annotations(records, len(names), names, of_classes)
    tested = dict.fromkeys(path for path, part in zip(rows.paths, rows.parts) if part == TEST)
    if tested:
        contents[wanted.out / f"test.{wanted.form}"] = image_list(tested)
    return contents


def _records(rows: ForeignRows, chosen: Sequence[int], numbers: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    for row in chosen:
        label = rows.labels[row]
        record: dict[str, Any] = {"category_id": numbers[label] if label else None, "fpath": rows.paths[row]}
        if not label:
            record["role"] = "unlabelled"
        if rows.boxes is not None and not np.isnan(rows.boxes[row, 0]):
            record["bbox"] = [_plain(value) for value in rows.boxes[row].tolist()]
        yield record | {name: values[row] for name, values in rows.more.items() if values[row] is not None}


def _plain(value: float) -> float | int:
    return int(value) if value == int(value) else value


def _options(contents: Mapping[Path, bytes], wanted: Wanted) -> dict[str, Path | str]:
    options: dict[str, Path | str] = {"data.root": wanted.images}
    for part in ("train", "val", "test"):
        file = wanted.out / f"{part}.{wanted.form}"
        if file in contents:
            options[f"data.{part}_json"] = file
    return options


def _told(rows: ForeignRows, path: Path) -> str:
    part = TEST if path.stem.startswith(TEST) else path.stem
    chosen = [row for row, found in enumerate(rows.parts) if found == part]
    if path.stem == TEST:
        return counted(len({rows.paths[row] for row in chosen}), "image")
    classes = counted(len({rows.labels[row] for row in chosen} - {""}), "class")
    if rows.boxes is None:
        return f"{counted(len(chosen), 'image')} in {classes}"
    pictures = counted(len({rows.paths[row] for row in chosen}), "picture")
    return f"{counted(len(chosen), 'record')} of {pictures} in {classes}"


def _empty_notes(rows: ForeignRows, names: Sequence[str]) -> Iterator[str]:
    in_part = defaultdict(set)
    for label, part in zip(rows.labels, rows.parts):
        in_part[part].add(label)
    for part in (TRAIN, VAL):
        lacking = [name for name in names if name not in in_part[part]]
        if lacking and in_part[part]:
            yield f"{counted(len(lacking), 'class')} without a picture in {part}: {in_line(lacking, _NUM_SHOWN)}"


def _near_names(names: Sequence[str]) -> Iterator[str]:
    """Names that a person may have meant to be one: they differ by capital letters or by zeros in front."""
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(name.casefold().lstrip("0"), name)
        if other != name:
            yield (
                f"the classes {other!r} and {name!r} differ by capital letters or by zeros in front alone; they are two"
                " classes"
            )
