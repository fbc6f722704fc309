"""The annotation format: read into a table, checked on the way, and written.

    train, val: {"annotations": [{"category_id": int, "fpath": str, ...}, ...], "num_classes": int}
    test:       {"images": [{"image_id": str}, ...]}

A record may also have bbox, image_id, role, source, confidence, weight, true_category_id, is_query, is_gallery, and
fields of the user's own, which are left alone. `category_id` is null only with `"role": "unlabelled"`. The top
level may have `class_names` and `groups`, one name a class each. `bbox: [x, y, width, height]` is the part of the
upright picture that the record is about, in pixels; without it the record is about the whole picture.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.columns import Column, column_of
from shelfmark.core.errors import UserError
from shelfmark.core.log import say
from shelfmark.core.strings import Strings
from shelfmark.data import annotation_checks
from shelfmark.data.annotation_checks import Field
from shelfmark.data.box_checks import BBOX, box_array
from shelfmark.data.boxes import box_texts
from shelfmark.data.documents import read_document
from shelfmark.data.findings import MISSING_FIELD, Findings
from shelfmark.data.image_files import image_files, require_some, tell_left_out
from shelfmark.data.limits import MAX_CLASSES
from shelfmark.data.table import Table

_CATEGORY = Field("category_id", (int, type(None)), "an integer", required=True)
_ROLE = Field("role", (str,), "text")
_FPATH = Field("fpath", (str,), "text", required=True)
_OPTIONAL = (
    BBOX,
    Field("image_id", (str,), "text"),
    Field("source", (str,), "text"),
    Field("confidence", (int, float), "a number"),
    Field("weight", (int, float), "a number"),
    Field("true_category_id", (int,), "an integer"),
    Field("is_query", (bool,), "true or false"),
    Field("is_gallery", (bool,), "true or false"),
)
_TEST_IMAGE = Field("image_id", (str,), "text", required=True)


def read_annotations(
    file: Path,
    root: Path,
    extra_roots: Sequence[Path] = (),
    num_classes: int = 0,
    check_files: bool = True,
    findings_folder: Path | None = None,
    own_columns: bool = False,
) -> Table:
    """The labelled images of `file`, all of them checked.

    root: the folder that a relative `fpath` starts from. extra_roots: folders that an absolute one may lie under.
    num_classes: 0 takes the file's. check_files: whether every picture must be there.
    findings_folder: where the list of findings goes, `log/findings` if not given.
    own_columns: keep the fields of the user's own too, where they are whole numbers or text.
    Raises one UserError with everything that is wrong. Classes without an image only give a note.
    """
    file, root = Path(file), _existing_root(root, "data.root", check_files)
    document, sha256 = read_document(file, "annotations")
    num_classes = _num_classes(document, file, num_classes)
    class_names = _names_of_classes(document, "class_names", num_classes, file)
    groups = _names_of_classes(document, "groups", num_classes, file)
    findings = Findings()
    # Only columns stay alive: the parsed records of 2.5 M images weigh more than a gigabyte.
    records = document.pop("annotations")
    columns = _columns(records, findings)
    own = _own_columns(records, file) if own_columns else {}
    del records
    paths = _path_texts(columns["fpath"], "fpath", findings)
    labels = annotation_checks.check_range("category_id", columns["category_id"] or [], num_classes, findings)
    true_labels = _true_labels(columns["true_category_id"], num_classes, findings)
    weights = _floats(columns["weight"], absent=1.0)
    annotation_checks.check_weights(weights, findings)
    boxes = box_array(columns["bbox"], findings)
    annotation_checks.check_paths(paths, labels, root, extra_roots, check_files, findings, boxes)
    findings.settle(file, paths, findings_folder)
    packed = Strings.of(paths)
    table = Table(
        paths=packed,
        labels=labels,
        image_ids=_image_ids(columns["image_id"], paths, packed, boxes),
        num_classes=num_classes,
        root=root,
        sha256=sha256,
        boxes=boxes,
        class_names=class_names,
        groups=groups,
        is_query=_flags(columns["is_query"]),
        is_gallery=_flags(columns["is_gallery"]),
        roles=_texts(columns["role"]),
        sources=_texts(columns["source"]),
        confidence=_floats(columns["confidence"], absent=np.nan),
        weights=weights,
        true_labels=true_labels,
        columns=own,
    )
    _tell_empty_classes(file, table)
    return table


def read_test_set(
    file: Path,
    root: Path,
    extra_roots: Sequence[Path] = (),
    check_files: bool = True,
    findings_folder: Path | None = None,
) -> Table:
    """The images of a test set, in the file's order: no labels, no classes, `image_id` is the path under `root`.

    A record may have `bbox`; then the id in the table is `image_id#x,y,width,height`.
    """
    file, root = Path(file), _existing_root(root, "data.test_root (data.root where that is not given)", check_files)
    document, sha256 = read_document(file, "images")
    findings = Findings()
    records = annotation_checks.objects(document.pop("images"), findings)
    columns = annotation_checks.columns(records, (_TEST_IMAGE, BBOX), findings)
    del records
    paths = _path_texts(columns["image_id"], "image_id", findings)
    boxes = box_array(columns["bbox"], findings)
    labels = np.full(len(paths), -1, dtype=np.int64)
    annotation_checks.check_paths(paths, labels, root, extra_roots, check_files, findings, boxes)
    findings.settle(file, paths, findings_folder)
    packed = Strings.of(paths)
    ids = _image_ids(None, paths, packed, boxes)
    return Table(packed, labels, ids, num_classes=0, root=root, sha256=sha256, boxes=boxes)


def folder_table(folder: Path) -> Table:
    """Every photograph in `folder` and below, sorted by relative path; the relative path is the image's id.

    What counts as one is said in `image_files`; a line tells what is left out. A damaged file counts, so that whoever
    reads it says so. `sha256` is that of the list of names.
    """
    files = image_files(folder)
    names = files.with_damaged
    require_some(files, names)
    tell_left_out(files)
    packed = Strings.of(names)
    sha256 = hashlib.sha256(packed.data.tobytes() + packed.offsets.tobytes()).hexdigest()
    labels = np.full(len(names), -1, dtype=np.int64)
    return Table(packed, labels, packed, num_classes=0, root=Path(os.path.abspath(folder)), sha256=sha256)


def _existing_root(root: Path, option: str, check_files: bool) -> Path:
    root = Path(os.path.abspath(root))
    if check_files and not root.is_dir():
        raise UserError(f"{root} is not a folder. The paths in the file are relative to it; set {option}.")
    return root


def _num_classes(document: Mapping[str, Any], file: Path, wanted: int) -> int:
    found = document.get("num_classes")
    if found is None and wanted:
        return wanted
    if type(found) is not int or found < 1:
        state = "has no num_classes" if found is None else f"has num_classes={annotation_checks.shown(found)}"
        raise UserError(f"{file.name} {state}; give it as a positive integer in the file, or set data.num_classes.")
    if found > MAX_CLASSES:
        raise UserError(
            f"{file.name} has num_classes={found}, more than {MAX_CLASSES:,}; give the number of classes, one more than"
            " the greatest category_id."
        )
    if wanted and wanted != found:
        raise UserError(f"data.num_classes={wanted} but {file.name} has {found}; set 0 to read it from the file.")
    return found


def _names_of_classes(document: Mapping[str, Any], key: str, num_classes: int, file: Path) -> tuple[str, ...] | None:
    names = document.get(key)
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{file}: {key!r} must be a list of text, one entry a class.")
    if len(names) != num_classes:
        raise UserError(f"{file}: {key!r} has {len(names)} entries for num_classes={num_classes}; give one a class.")
    return tuple(names)


def _columns(records: Sequence[Any], findings: Findings) -> dict[str, list[Any] | None]:
    records = annotation_checks.objects(records, findings)
    columns = annotation_checks.columns(records, (_CATEGORY, _ROLE), findings)
    annotation_checks.check_nulls(columns["category_id"] or [], columns["role"], findings)
    return columns | annotation_checks.columns(records, (_FPATH, *_OPTIONAL), findings)


def _own_columns(records: Sequence[Any], file: Path) -> dict[str, Column]:
    """The fields that this format does not know. Records that are no objects were reported and end the reading."""
    objects = [record for record in records if type(record) is dict]
    known = {item.name for item in (_CATEGORY, _ROLE, _FPATH, *_OPTIONAL)}
    found = {
        name: column_of([record.get(name) for record in objects])
        for name in sorted(set(chain.from_iterable(objects)) - known)
    }
    if other := [name for name, column in found.items() if column is None]:
        say(f"note: {file}: no image can be searched for by {', '.join(other)}: --where takes whole numbers and text")
    return {name: column for name, column in found.items() if column is not None}


def _true_labels(values: list[Any] | None, num_classes: int, findings: Findings) -> np.ndarray | None:
    return None if values is None else annotation_checks.check_range("true_category_id", values, num_classes, findings)


def _path_texts(values: list[Any] | None, name: str, findings: Findings) -> list[str]:
    values = values or []
    if "" in values:
        for index, value in enumerate(values):
            if value == "":
                findings.error(index, MISSING_FIELD, f"{name} is empty")
    return [value or "" for value in values]


def _image_ids(
    values: list[Any] | None, paths: Sequence[str], packed: Strings, boxes: np.ndarray | None = None
) -> Strings:
    if boxes is not None:
        # Several records of a picture are told apart in lists and in an index.
        paths = [path + box for path, box in zip(paths, box_texts(boxes))]
        packed = Strings.of(paths)
    return packed if values is None else Strings.of(value or path for value, path in zip(values, paths))


def _texts(values: list[Any] | None) -> Strings | None:
    return None if values is None else Strings.of(value or "" for value in values)


def _flags(values: list[Any] | None) -> np.ndarray | None:
    return None if values is None else np.array([bool(value) for value in values])


def _floats(values: list[Any] | None, absent: float) -> np.ndarray | None:
    if values is None:
        return None
    with np.errstate(over="ignore"):
        return np.array([absent if value is None else value for value in values], dtype=np.float64).astype(np.float32)


def _tell_empty_classes(file: Path, table: Table) -> None:
    empty = np.flatnonzero(table.counts == 0)
    if len(empty):
        first = ", ".join(str(label) for label in empty[:5]) + (", ..." if len(empty) > 5 else "")
        say(f"note: {file}: {len(empty):,} of {table.num_classes:,} classes have no image: {first}")
