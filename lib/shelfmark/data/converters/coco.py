"""`prepare coco`: pictures, categories and boxes in the JSON of COCO, whose programs and exporters are many.

    {"images": [{"id", "file_name", "width", "height"}], "annotations": [{"id", "image_id", "category_id", "bbox"}],
     "categories": [{"id", "name", "supercategory"}]}

--source is such a file; or COCO's own folder (annotations/instances_train*.json, beside train*/); or one of
train/_annotations.coco.json, valid/... beside the pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.core.wording import counted
from shelfmark.data import findings as problem
from shelfmark.data.boxes import OUTSIDE_PX
from shelfmark.data.converters.foreign_rows import Classes, ForeignRows, Wanted, prepare_rows
from shelfmark.data.converters.part_files import images_folder, part_of
from shelfmark.data.converters.prepared import Prepared
from shelfmark.data.converters.wrong_places import WrongPlaces
from shelfmark.data.documents import file_errors_told, read_document
from shelfmark.data.findings import Findings, Places
from shelfmark.data.json_stream import NotStreamed, RecordStream
from shelfmark.data.record_columns import RecordColumns
from shelfmark.data.record_fields import BBOX, INTEGER, NO_INTEGER, NUMBER, TEXT, Field, Kind, Packed

WHERE = (
    "Give the JSON file, or the folder of a data set in COCO's layout, as --source, and the folder that file_name"
    " starts from as --images."
)
# An id of 12 and one of "12" are two: each is kept as it stands in the file.
_ID = Kind(
    (int, str),
    "an integer or text",
    lambda values: Strings.of(["" if value is None else orjson.dumps(value).decode() for value in values]),
    TEXT.absent,
)
_IMAGE = (
    Field("id", _ID, required=True),
    Field("file_name", TEXT, required=True),
    Field("width", NUMBER),
    Field("height", NUMBER),
)
_ANNOTATION = (
    Field("image_id", _ID, required=True),
    Field("category_id", _ID, required=True),
    Field("id", _ID),
    BBOX,
    Field("iscrowd", INTEGER),
)
_LISTS = {"images": _IMAGE, "annotations": _ANNOTATION}


@dataclass(frozen=True)
class _File:
    """part: train, val or test; empty where the file has all. prefix: in front of each file_name."""

    part: str
    path: Path
    prefix: str = ""


def prepare_coco(
    source: Path,
    out: Path,
    images: Path | None = None,
    val_fraction: float = 0.2,
    seed: int = 0,
    form: str = "json",
) -> Prepared:
    """Writes a record for each annotation, with its box and its id. Crowds (iscrowd) are left out, and boxes without an
    area; boxes that reach over the edge end there: it says how many. Classes are the categories, in the order of their
    ids, and groups their supercategories. For the options see `Wanted`.
    """
    found: list[ForeignRows] = []
    categories: dict[str, tuple[str, str]] = {}
    notes: list[str] = []
    for file in _files(Path(source)):
        rows, own, told = _read(file)
        for one, category in own.items():
            if categories.setdefault(one, category) != category:
                raise UserError(
                    f"{file.path}: the category of id {one} is {category[0]!r}, and in another part"
                    f" {categories[one][0]!r}. Ids must mean the same in all parts."
                )
        found.append(rows)
        notes += told
    wanted = Wanted(images_folder(images, Path(source)), Path(out), val_fraction, seed, form)
    names = [categories[one][0] for one in sorted(categories, key=_id_order)]
    groups = {name: group for name, group in categories.values() if group}
    return prepare_rows(found, Classes(names, groups), wanted, notes)


def _files(source: Path) -> list[_File]:
    if source.is_file():
        return [_File("", source)]
    found = []
    for file in sorted(source.glob("annotations/instances_*.json")):
        name = file.stem.removeprefix("instances_")
        found.append(_File(part_of(name.rstrip("0123456789")) or "", file, f"{name}/"))
    for file in sorted(source.glob("*/_annotations.coco.json")):
        found.append(_File(part_of(file.parent.name) or "", file, f"{file.parent.name}/"))
    found = [file for file in found if file.part]
    parts = [file.part for file in found]
    if "train" not in parts or len(set(parts)) < len(parts):
        names = ", ".join(str(file.path.relative_to(source)) for file in found) or "none"
        raise UserError(
            f"{source} is not in COCO's layout: of annotations/instances_train*.json or train/_annotations.coco.json"
            f" there must be one for train, and at most one for val and for test; found: {names}. {WHERE}"
        )
    return found if len(found) > 1 else [replace(found[0], part="")]


def _read(file: _File) -> tuple[ForeignRows, dict[str, tuple[str, str]], list[str]]:
    """The rows, the categories by their ids as (name, supercategory), and notes."""
    findings = {key: Findings() for key in _LISTS}
    columns = {key: RecordColumns(fields, findings[key]) for key, fields in _LISTS.items()}
    stream = RecordStream(file.path, *_LISTS)
    try:
        with file_errors_told(file.path):
            for block in stream.blocks():
                columns[block.key].add(block.records, block.text)
    except NotStreamed as damage:
        for key in _LISTS:
            read_document(file.path, key, damage)
        raise UserError(f"{file.path} has changed while it was read; read it again.") from None
    except RecursionError:
        raise UserError(f"{file.path}: a record holds lists or objects hundreds deep in each other.") from None
    pictures, records = columns["images"].columns(), columns["annotations"].columns()
    categories = _categories(file.path, stream.top.get("categories"))
    names = _texts(pictures["file_name"])
    _require_known(names, pictures, findings["images"])
    findings["images"].settle(file.path, names, places=_places(stream, "images"))
    places = {one: row for row, one in enumerate(_texts(pictures["id"]))}
    of_picture = [places.get(one, -1) for one in _texts(records["image_id"])]
    labels = _texts(records["category_id"])
    _require_references(of_picture, _texts(records["image_id"]), labels, categories, findings["annotations"])
    paths = [_path(file, names[row]) if row >= 0 else "" for row in of_picture]
    in_file = _places(stream, "annotations")
    findings["annotations"].settle(file.path, paths, places=in_file)
    boxes, stays, notes = _usable(file.path, pictures, records, np.array(of_picture), in_file)
    ids = None if records["id"] is None else [_plain_id(one) for one in _texts(records["id"])]
    rows = ForeignRows(
        file.path,
        paths,
        [categories[label][0] for label in labels],
        [file.part] * len(paths),
        Findings(),
        in_file,
        boxes,
        {} if ids is None else {"image_id": ids},
        stays,
    )
    lonely = len(names) - len({of_picture[row] for row in np.flatnonzero(stays).tolist()})
    notes += [f"{file.path}: {counted(lonely, 'picture')} without an annotation left out"] if lonely else []
    return rows, categories, notes


def _path(file: _File, name: str) -> str:
    return name if name.startswith("/") else file.prefix + name


def _places(stream: RecordStream, key: str) -> Places:
    return Places(partial(stream.bytes_of, key=key), within=key)


def _categories(file: Path, found: Any) -> dict[str, tuple[str, str]]:
    if not isinstance(found, list) or not found:
        raise UserError(f'{file} has no list of categories: [{{"id": 1, "name": "cola"}}, ...].')
    categories: dict[str, tuple[str, str]] = {}
    names: set[str] = set()
    wrong = WrongPlaces()
    for number, one in enumerate(found):
        where = f"{file}: category {number} (counted from 0)"
        is_whole = isinstance(one, dict) and type(one.get("id")) in (int, str) and isinstance(one.get("name"), str)
        if not is_whole or not one["name"].strip() or not isinstance(one.get("supercategory") or "", str):
            wrong.add(f"{where} must have an id and a name: {one!r:.80}.")
            continue
        identifier = orjson.dumps(one["id"]).decode()
        if identifier in categories or one["name"] in names:
            wrong.add(f"{where} has an id or a name that stands further up.")
        names.add(one["name"])
        categories[identifier] = (one["name"], one.get("supercategory") or "")
    wrong.settle(file, "Correct the categories.")
    return categories


def _require_known(names: Sequence[str], pictures: Mapping[str, Packed | None], findings: Findings) -> None:
    for name in ("width", "height"):
        sizes = pictures[name]
        if isinstance(sizes, np.ndarray):
            for row in np.flatnonzero(sizes < 0).tolist():
                findings.error(row, problem.WRONG_TYPE, f"{name}={sizes[row]:g}, wanted a number of pixels")
    seen: dict[str, int] = {}
    for row, one in enumerate(_texts(pictures["id"])):
        if one and seen.setdefault(one, row) != row:
            findings.error(row, problem.REPEATED_ID, f"id={one}, as record {seen[one]}")


def _require_references(
    of_picture: Sequence[int],
    image_ids: Sequence[str],
    labels: Sequence[str],
    categories: Mapping[str, Any],
    findings: Findings,
) -> None:
    wrong = {finding.record for finding in findings.errors}
    for row, (picture, label) in enumerate(zip(of_picture, labels)):
        if row not in wrong and (picture < 0 or label not in categories):
            no_picture = f"image_id={image_ids[row]} is the id of no picture"
            what = no_picture if picture < 0 else f"category_id={label} is of no category"
            findings.error(row, problem.UNKNOWN_ID, what)


def _usable(
    file: Path,
    pictures: Mapping[str, Packed | None],
    records: Mapping[str, Packed | None],
    of_picture: np.ndarray,
    in_file: Places,
) -> tuple[np.ndarray | None, np.ndarray, list[str]]:
    """The boxes, ended at the pictures' edges; which records stay; and what was left out and cut."""
    notes: list[str] = []
    crowd, boxes = records["iscrowd"], records["bbox"]
    assert not isinstance(crowd, Strings)
    assert not isinstance(boxes, Strings)
    stays = np.ones(len(of_picture), dtype=bool)
    if crowd is not None:
        stays = (crowd == 0) | (crowd == NO_INTEGER)
        notes += _note(file, ~stays, "left out: a crowd (iscrowd) shows no single product", in_file)
    if boxes is None:
        return None, stays, notes
    ended = _ended(boxes, pictures, of_picture)
    is_empty = ~np.isnan(boxes[:, 0]) & ~(ended[:, 2:] > 0).all(axis=1)
    notes += _note(file, stays & is_empty, "left out: the box has no area inside of the picture", in_file)
    stays &= ~is_empty
    is_cut = stays & (np.abs(ended - np.nan_to_num(boxes)) > OUTSIDE_PX).any(axis=1) & ~np.isnan(boxes[:, 0])
    notes += _note(file, is_cut, "cut: the box reached over the edge of the picture", in_file)
    return ended, stays, notes


def _ended(boxes: np.ndarray, pictures: Mapping[str, Packed | None], of_picture: np.ndarray) -> np.ndarray:
    """The boxes without what lies outside of the pictures. A picture without a size, or of size 0, as some exporters
    write where they know none, ends nowhere to the right."""
    low = np.maximum(boxes[:, :2], 0)
    high = boxes[:, :2] + boxes[:, 2:]
    for side, name in enumerate(("width", "height")):
        sizes = pictures[name]
        if isinstance(sizes, np.ndarray):
            limit = np.where(sizes > 0, sizes, np.nan)[of_picture]
            high[:, side] = np.where(np.isnan(limit), high[:, side], np.minimum(high[:, side], limit))
    return np.concatenate([low, high - low], axis=1)


def _note(file: Path, which: np.ndarray, words: str, in_file: Places) -> Iterator[str]:
    rows = np.flatnonzero(which).tolist()
    if rows:
        place = in_file.columns(rows[:1])["byte"][rows[0]]
        yield f"{file}: {counted(len(rows), 'annotation')} {words}; the first is record {rows[0]}, at byte {place:,}"


def _texts(column: Packed | None) -> list[str]:
    assert isinstance(column, Strings)
    return list(column)


def _plain_id(text: str) -> str | None:
    """The id as text: of 12 and of "12" it is 12."""
    return str(orjson.loads(text)) if text else None


def _id_order(text: str) -> tuple[int, int, str]:
    value = orjson.loads(text)
    return (0, value, "") if isinstance(value, int) else (1, 0, value)
