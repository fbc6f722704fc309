"""Several annotation files as one training set."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from shelfmark.core import columns
from shelfmark.core.errors import UserError
from shelfmark.core.log import say
from shelfmark.core.strings import Strings
from shelfmark.core.wording import counted
from shelfmark.data.class_map import ClassList, matched
from shelfmark.data.identity import record_identities
from shelfmark.data.table import Table


def union(tables: Sequence[Table], files: Sequence[Path]) -> Table:
    """The images of all tables, file after file. An image that several files list comes once; the log counts these. Two
    boxes of a picture are two images.

    tables: at least one, with one root. files: where they were read, for messages.
    Classes have the numbers of the first table, the others are matched by name; names and groups are those of the first
    table that has some. sha256: of the tables' sha256 in their order; a single table keeps its own.
    Raises a UserError where a later file has images of other classes, or two files label one image differently.
    """
    first = tables[0]
    if len(tables) == 1:
        return first
    known = ClassList.of_training(first)
    numbered = [first]
    for table, file in zip(tables[1:], files[1:]):
        numbered.append(matched(table, str(file), known))
        known = replace(known, names=known.names or numbered[-1].class_names)
    tables = numbered
    joined = replace(
        first,
        paths=Strings.joined([table.paths for table in tables]),
        labels=np.concatenate([table.labels for table in tables]),
        image_ids=Strings.joined([table.image_ids for table in tables]),
        sha256=hashlib.sha256("".join(table.sha256 for table in tables).encode()).hexdigest(),
        class_names=next((table.class_names for table in tables if table.class_names), None),
        groups=next((table.groups for table in tables if table.groups), None),
        is_query=_joined(tables, "is_query", False),
        is_gallery=_joined(tables, "is_gallery", False),
        roles=_joined_texts(tables, "roles"),
        sources=_joined_texts(tables, "sources"),
        confidence=_joined(tables, "confidence", np.float32(np.nan)),
        weights=_joined(tables, "weights", np.float32(1)),
        true_labels=_joined(tables, "true_labels", np.int64(-1)),
        boxes=columns.joined_boxes([(table.boxes, len(table)) for table in tables]),
        columns=columns.joined([(table.columns, len(table)) for table in tables]),
    )
    return joined.take(_stays(joined, np.repeat(np.arange(len(tables)), [len(table) for table in tables]), files))


def _stays(table: Table, file_of: np.ndarray, files: Sequence[Path]) -> np.ndarray:
    """(N,) bool: the rows that stay. Of two files with one image, the labelled row stays, else that of the first file.

    file_of: (N,) the file of each row. An image that one file lists twice stays twice.
    """
    stays = np.ones(len(table), dtype=bool)
    keeper: dict[str, int] = {}
    for row, image in enumerate(record_identities(table.paths, table.root, table.boxes)):
        earlier = keeper.setdefault(image, row)
        ours, theirs = table.labels[earlier], table.labels[row]
        if file_of[earlier] == file_of[row]:
            if ours < 0 <= theirs:
                keeper[image] = row
            continue
        if ours >= 0 and theirs >= 0 and ours != theirs:
            raise UserError(
                f"{table.paths[row]} has category_id={theirs} in {files[file_of[row]]}, but {ours} in"
                f" {files[file_of[earlier]]}; keep the record with the right label and delete the other."
            )
        if ours < 0 <= theirs:
            keeper[image], row = row, earlier
        stays[row] = False
    if not stays.all():
        shared = counted(int((~stays).sum()), "image")
        say(f"note: {shared} of several files of training annotations: each is taken once")
    return stays


def _joined(tables: Sequence[Table], column: str, absent: object) -> np.ndarray | None:
    """A column of all tables; `absent` stands in for those that do not have it."""
    found = [getattr(table, column) for table in tables]
    if all(part is None for part in found):
        return None
    return np.concatenate([np.full(len(t), absent) if part is None else part for t, part in zip(tables, found)])


def _joined_texts(tables: Sequence[Table], column: str) -> Strings | None:
    found = [getattr(table, column) for table in tables]
    if all(part is None for part in found):
        return None
    return Strings.joined([Strings.of([""] * len(t)) if part is None else part for t, part in zip(tables, found)])
