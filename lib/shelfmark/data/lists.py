"""Lists that a person edits, applied to an annotation table: images to keep, to drop, and to label anew.

    keep.txt, drop.txt   one image_id a line (fpath where a record has none)
    relabel.csv          image_id,label with that header line; a third column, name, is for the reader and not looked at

Empty lines, and lines that begin with `# `, are passed over. An id that a line cannot hold as it is, because it has
line breaks or begins as a comment does, is written as a JSON string: "a\\nb", "# a".
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from shelfmark.core.csv_lines import line_feed_writer
from shelfmark.core.errors import UserError, did_you_mean
from shelfmark.core.files import write_text
from shelfmark.core.log import say
from shelfmark.core.regular_files import read_regular
from shelfmark.core.text_encoding import NotUtf8, utf8_text
from shelfmark.core.text_safety import printable, spreadsheet_cell
from shelfmark.core.wording import counted
from shelfmark.data.class_map import class_key
from shelfmark.data.identity import record_identities
from shelfmark.data.near_paths import near_name
from shelfmark.data.table import Table

RELABEL_HEADER = ["image_id", "label"]
NAMED_HEADER = [*RELABEL_HEADER, "name"]

_QUOTE = '"'
_BYTE_ORDER_MARK = "\ufeff"


def apply_lists(
    table: Table, keep: Sequence[Path] = (), drop: Sequence[Path] = (), relabel: Sequence[Path] = ()
) -> Table:
    """The table after the lists are applied; its sha256 changes if the table does.

    keep: files of images; all other images are left out. drop: files of images that are left out, even if `keep` or
    `relabel` names them.
    relabel: if an image is named twice, the later line or file holds; two labels in one file are told.
    Raises a UserError for an image that the table does not have, or has more than one picture for.
    """
    labels = table.labels.copy()
    new_labels: dict[str, int] = {}
    places: dict[str, str] = {}
    for file in relabel:
        for one, (label, place) in _relabels(file, table.num_classes, table.class_names).items():
            new_labels[one], places[one] = label, place
    for one, rows in _rows_of(table, places).items():
        labels[rows] = new_labels[one]
    stays = ~_listed(table, drop)
    if keep:
        stays &= _listed(table, keep)
    if not stays.any():
        raise UserError(f"data.lists leave none of the {len(table)} images; correct the keep and drop lists.")
    return _changed(table, labels, stays)


def read_image_ids(file: Path) -> list[str]:
    """The image ids of a keep or drop list, in its order."""
    return [_read_id(line) for line in _lines(file) if not _is_passed_over(line)]


def read_relabels(file: Path, num_classes: int) -> dict[str, int]:
    """The new label of each image id of a relabel list; a UserError names the first line that is wrong."""
    return {one: label for one, (label, _) in _relabels(file, num_classes).items()}


def _relabels(file: Path, num_classes: int, class_names: Sequence[str] | None = None) -> dict[str, tuple[int, str]]:
    """The new label of each image id, and the line of the file that gives it. A name has to be that of its label."""
    found: dict[str, tuple[int, str]] = {}
    reader = csv.reader(_lines(file))
    try:
        header = next(reader, [])
        if header not in (RELABEL_HEADER, NAMED_HEADER):
            begins = f"; it begins with {_cut(','.join(header))!r}" if header else "; it is empty"
            raise UserError(f"{file} must begin with the line {','.join(RELABEL_HEADER)}{begins}.")
        begin = reader.line_num + 1
        for row in reader:
            place, begin = f"{file}, line {begin}", reader.line_num + 1
            if not row or _is_passed_over(row[0]):
                continue
            label = row[1].strip() if len(row) in (2, len(header)) else ""
            if not (label.isdecimal() and len(label) < 20 and int(label) < num_classes):
                wanted = f"expected image_id,label with a label of 0..{num_classes - 1}"
                raise UserError(f"{place}: {_cut(','.join(row))!r}; {wanted}.")
            _require_name(place, row, class_names)
            one = _read_id(row[0])
            if one in found and found[one][0] != int(label):
                say(f"note: {place}: {one!r} has label {found[one][0]} further up; this line holds, with {label}")
            found[one] = int(label), place
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.line_num}: no CSV: {error}.") from None
    return found


def _require_name(place: str, row: Sequence[str], class_names: Sequence[str] | None) -> None:
    """Raises a UserError where the third column names another class than the label."""
    if class_names is None or len(row) < len(NAMED_HEADER) or not row[2].strip():
        return
    written, label, given = [class_key(_written(name)) for name in class_names], int(row[1]), class_key(row[2])
    if written[label] != given:
        number = f" is {written.index(given)}" if given in written else " is no class of the training annotations"
        raise UserError(
            f"{place}: {_cut(','.join(row))!r}: the label {label} is {class_names[label]!r}, and {row[2]!r}{number}."
            " Correct the label or the name; without a name the label alone counts."
        )


def _written(name: str) -> str:
    """A class name as a relabel list has it."""
    return spreadsheet_cell(printable(name, one_line=True))


def write_image_ids(file: Path, image_ids: Iterable[str]) -> None:
    """Writes a keep or drop list."""
    write_text(file, "".join(f"{_written_id(one)}\n" for one in image_ids))


def write_relabels(file: Path, labels: Iterable[tuple[str, int]], names: Mapping[int, str] | None = None) -> None:
    """Writes a relabel list of image ids and labels. names: of classes, for a third column."""
    text = io.StringIO()
    rows = line_feed_writer(text)
    rows.writerow(NAMED_HEADER if names else RELABEL_HEADER)
    for image_id, label in labels:
        rows.writerow([_written_id(image_id), label, *([_written(names.get(label, ""))] if names else [])])
    write_text(file, text.getvalue())


def _written_id(one: str) -> str:
    """An image id as a line or cell of a list has it."""
    is_plain = one.splitlines() == [one] and not one.startswith((_QUOTE, _BYTE_ORDER_MARK)) and not _is_passed_over(one)
    return one if is_plain else json.dumps(one)


def _read_id(text: str) -> str:
    """The image id of a line or cell; what begins with a quotation mark and is no JSON string stays as it is."""
    if not text.startswith(_QUOTE):
        return text
    try:
        one = json.loads(text)
    except ValueError:
        return text
    return one if isinstance(one, str) else text


def _listed(table: Table, files: Sequence[Path]) -> np.ndarray:
    """(N,) bool, whether an image is on one of the lists."""
    named: dict[str, str] = {one: str(file) for file in files for one in read_image_ids(file)}
    listed = np.zeros(len(table), dtype=bool)
    for rows in _rows_of(table, named).values():
        listed[rows] = True
    return listed


def _rows_of(table: Table, named: Mapping[str, str]) -> dict[str, list[int]]:
    """The rows of each image id. named: the place in a list that names the id, for the error about an unknown image."""
    rows: dict[str, list[int]] = {one: [] for one in named}
    if not rows:
        return rows
    for row, one in enumerate(table.image_ids):
        if one in rows:
            rows[one].append(row)
    unknown = [one for one in rows if not rows[one]]
    if unknown:
        first, more = unknown[0], f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        near = near_name(first, table.image_ids)
        close = near[0] if near else did_you_mean(first, table.image_ids)
        hint = f" Did you mean {close!r}?" if close else ""
        hint += f" The two differ in {near[1]}." if near else ""
        raise UserError(f"{named[first]} names {first!r}{more}, which the training annotations do not have.{hint}")
    for one, found in rows.items():
        paths = [table.paths[row] for row in found]
        boxes = None if table.boxes is None else table.boxes[found]
        records = set(record_identities(paths, table.root, boxes))
        if len(records) > 1:
            some = ", ".join(sorted(set(paths))[:3])
            raise UserError(
                f"{named[one]} names {one!r}, but {len(records)} images have that image_id: {some}."
                " Give each its own in the annotations."
            )
    return rows


def _changed(table: Table, labels: np.ndarray, stays: np.ndarray) -> Table:
    if stays.all() and np.array_equal(labels, table.labels):
        return table
    # The hash is of the changed table, not of the lists: the order of their lines and their comments do not matter.
    digest = hashlib.sha256(table.sha256.encode() + np.packbits(stays).tobytes() + labels[stays].tobytes())
    changed = replace(table, labels=labels, sha256=digest.hexdigest()).take(stays)
    num_new = int((labels != table.labels)[stays].sum())
    emptied = np.flatnonzero((table.counts > 0) & (changed.counts == 0))
    first = ", ".join(map(str, emptied[:5]))
    lost = f"; no image is left of {counted(len(emptied), 'class')}: {first}" if len(emptied) else ""
    say(f"data.lists: {counted(len(table) - len(changed), 'image')} left out, {num_new} labelled anew{lost}")
    return changed


def _lines(file: Path) -> list[str]:
    try:
        text = utf8_text(read_regular(file))
    except NotUtf8 as error:
        raise UserError(f"data.lists: {file}, line {error.line}: {error}") from None
    except OSError as error:
        raise UserError(f"data.lists: {file} cannot be read: {error.strerror}.") from None
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _cut(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_passed_over(line: str) -> bool:
    return not line.strip() or line.startswith("# ")
