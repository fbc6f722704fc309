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
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.log import say
from shelfmark.core.strings import Strings
from shelfmark.core.text_safety import in_line
from shelfmark.core.wording import counted
from shelfmark.data.annotation_checks import checked_confidence, checked_range, checked_weights
from shelfmark.data.box_checks import checked_boxes
from shelfmark.data.boxes import box_texts
from shelfmark.data.findings import Findings, Places
from shelfmark.data.image_files import image_files, require_some, tell_left_out
from shelfmark.data.limits import MAX_CLASSES
from shelfmark.data.path_checks import check_paths
from shelfmark.data.record_fields import ANNOTATION_FIELDS, TEST_FIELDS
from shelfmark.data.record_files import read_records
from shelfmark.data.shown_values import shown
from shelfmark.data.table import Table


def read_annotations(
    file: Path,
    root: Path,
    extra_roots: Sequence[Path] = (),
    num_classes: int = 0,
    check_files: bool = True,
    findings_folder: Path | None = None,
    own_columns: bool = False,
) -> Table:
    """The labelled images of `file`, JSON or Parquet, all of them checked.

    root: the folder that a relative `fpath` starts from. extra_roots: folders that an absolute one may lie under.
    num_classes: 0 takes the file's. check_files: whether every picture must be there.
    findings_folder: where the list of findings goes, `log/findings` if not given.
    own_columns: keep the fields of the user's own too, where they are whole numbers or text.
    Raises one UserError with everything that is wrong. Classes without an image only give a note.
    """
    file, root = Path(file), existing_root(root, "data.root", check_files)
    findings = Findings()
    records = read_records(file, "annotations", ANNOTATION_FIELDS, findings, own_columns)
    num_classes = _num_classes(records.top, file, num_classes)
    class_names = _names_of_classes(records.top, "class_names", num_classes, file)
    groups = _names_of_classes(records.top, "groups", num_classes, file)
    paths = records.texts("fpath")
    labels = checked_range("category_id", records.numbers("category_id"), num_classes, records.beyond, findings)
    weights = checked_weights(records.array("weight"), findings)
    confidence = checked_confidence(records.array("confidence"), findings)
    boxes = checked_boxes(records.array("bbox"), findings)
    true_labels = records.array("true_category_id")
    if true_labels is not None:
        true_labels = checked_range("true_category_id", true_labels, num_classes, records.beyond, findings)
    check_paths(paths, labels, root, extra_roots, check_files, findings, boxes)
    findings.settle(file, paths, findings_folder, Places(records.bytes_of))
    table = Table(
        paths=paths,
        labels=labels,
        image_ids=_image_ids(records.strings("image_id"), paths, boxes),
        num_classes=num_classes,
        root=root,
        sha256=records.sha256,
        boxes=boxes,
        class_names=class_names,
        groups=groups,
        is_query=records.array("is_query"),
        is_gallery=records.array("is_gallery"),
        roles=records.strings("role"),
        sources=records.strings("source"),
        confidence=confidence,
        weights=weights,
        true_labels=true_labels,
        columns=records.own,
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
    file, root = Path(file), existing_root(root, "data.test_root (data.root where that is not given)", check_files)
    findings = Findings()
    records = read_records(file, "images", TEST_FIELDS, findings)
    paths = records.texts("image_id")
    boxes = checked_boxes(records.array("bbox"), findings)
    labels = np.full(len(paths), -1, dtype=np.int64)
    check_paths(paths, labels, root, extra_roots, check_files, findings, boxes)
    findings.settle(file, paths, findings_folder, Places(records.bytes_of))
    ids = _image_ids(None, paths, boxes)
    return Table(paths, labels, ids, num_classes=0, root=root, sha256=records.sha256, boxes=boxes)


def existing_root(root: Path, option: str, check_files: bool = True) -> Path:
    """The folder that paths are relative to, absolute. option: its name. UserError: it is missing; with check_files."""
    root = Path(os.path.abspath(root))
    if check_files and not root.is_dir():
        raise UserError(f"{root} is not a folder. The paths in the file are relative to it; set {option}.")
    return root


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


def _num_classes(document: Mapping[str, Any], file: Path, wanted: int) -> int:
    found = document.get("num_classes")
    if found is None and wanted:
        return wanted
    if type(found) is not int or found < 1:
        state = "has no num_classes" if found is None else f"has num_classes={shown(found)}"
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


def _image_ids(given: Strings | None, paths: Strings, boxes: np.ndarray | None) -> Strings:
    """Each record's id; without one its path, and its box, so that lists and an index tell records apart."""
    if boxes is not None:
        paths = Strings.of(path + box for path, box in zip(paths, box_texts(boxes)))
    if given is None:
        return paths
    lacks_one = np.diff(given.offsets) == 0
    if not lacks_one.any():
        return given
    return Strings.joined([given, paths]).take(np.arange(len(paths)) + len(paths) * lacks_one)


def _tell_empty_classes(file: Path, table: Table) -> None:
    empty = np.flatnonzero(table.counts == 0)
    if len(empty):
        first = in_line([_named(table, int(label)) for label in empty[:6]], 5)
        say(f"note: {file}: no image of {len(empty):,} of the {counted(table.num_classes, 'class')}: {first}")


def _named(table: Table, label: int) -> str:
    return str(label) if table.class_names is None else f"{table.class_names[label]} ({label})"
