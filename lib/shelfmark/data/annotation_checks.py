"""The checks of an annotation file. What they notice goes into `Findings`, with the index of the record.

Millions of records are checked in seconds because a check looks at a whole column first (which types occur,
which paths repeat) and goes through it record by record only where something is wrong.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from shelfmark.data import findings as problem
from shelfmark.data.boxes import box_texts
from shelfmark.data.findings import Findings
from shelfmark.data.identity import canonical_path, is_under
from shelfmark.data.near_paths import NearPaths
from shelfmark.data.real_roots import RealRoots


@dataclass(frozen=True)
class Field:
    """One field of a record: the types that its value may have, and the words for them."""

    name: str
    types: tuple[type, ...]
    wanted: str
    required: bool = False


def objects(records: Sequence[Any], findings: Findings) -> Sequence[dict[str, Any]]:
    """`records` as dicts. A record that is no JSON object is reported and replaced by an empty dict."""
    if set(map(type, records)) <= {dict}:
        return records
    for index, record in enumerate(records):
        if type(record) is not dict:
            findings.error(index, problem.NOT_AN_OBJECT, shown(record))
    return [record if type(record) is dict else _NOT_A_RECORD for record in records]


def columns(
    records: Sequence[dict[str, Any]], fields: Iterable[Field], findings: Findings
) -> dict[str, list[Any] | None]:
    """Each field's values, by name; None in place of a value that is missing or wrong.

    The value of an optional field that no record has is None instead of a list.
    """
    names = set(chain.from_iterable(records))
    return {
        item.name: _column(records, item, findings) if item.required or item.name in names else None for item in fields
    }


class _Absent:
    """Stands for a field that a record does not have; null is a value of its own."""


_NOT_A_RECORD: dict[str, Any] = {}
"""Stands for a record that is not an object. That was reported, so its fields are not reported as missing."""


def _column(records: Sequence[dict[str, Any]], item: Field, findings: Findings) -> list[Any]:
    values = [record.get(item.name, _Absent) for record in records]
    allowed = {*item.types} if item.required else {*item.types, type(None)}
    if set(map(type, values)) <= allowed:
        return values
    for index, value in enumerate(values):
        if type(value) in allowed:
            continue
        values[index] = None
        if value is not _Absent:
            findings.error(index, problem.WRONG_TYPE, f"{item.name}={shown(value)}, wanted {item.wanted}")
        elif item.required and records[index] is not _NOT_A_RECORD:
            findings.error(index, problem.MISSING_FIELD, item.name)
    return values


def check_range(name: str, values: Sequence[int | None], num_classes: int, findings: Findings) -> np.ndarray:
    """(N,) int64 labels of a column of integers, -1 for None; those outside 0..num_classes-1 are reported."""
    # A number beyond 64 bits would not fit the array, and is out of range anyway.
    labels = np.array([-1 if value is None else min(value, 2**62) for value in values], dtype=np.int64)
    for index in np.flatnonzero((labels < 0) | (labels >= num_classes)).tolist():
        if values[index] is not None:
            findings.error(index, problem.CATEGORY_RANGE, f"{name}={values[index]}, allowed 0..{num_classes - 1}")
    return labels


def check_nulls(values: Sequence[int | None], roles: Sequence[str | None] | None, findings: Findings) -> None:
    """Reports a `category_id` of None that is neither reported already nor allowed by the role."""
    if None not in set(values):
        return
    reported = {finding.record for finding in findings.errors}
    for index, value in enumerate(values):
        role = roles[index] if roles else None
        if value is None and role != "unlabelled" and index not in reported:
            findings.error(index, problem.NULL_CATEGORY, f"category_id=null, role={shown(role)}")


def check_weights(weights: np.ndarray | None, findings: Findings) -> None:
    """Reports weights that are negative or not finite."""
    if weights is None:
        return
    for index in np.flatnonzero(~(np.isfinite(weights) & (weights >= 0))).tolist():
        findings.error(index, problem.WEIGHT_RANGE, f"weight={weights[index]}, wanted a finite number from 0")


def check_paths(
    paths: Sequence[str],
    labels: np.ndarray,
    root: Path,
    extra_roots: Sequence[Path],
    files_too: bool,
    findings: Findings,
    boxes: np.ndarray | None = None,
) -> None:
    """Reports paths outside the roots and repeated paths; with `files_too`, also missing files and files that a link
    leads to outside the roots.

    paths: (N,), empty where the path was reported as missing or wrong. labels: (N,), -1 for none. boxes: (N, 4), or
    None; several records of one path with different boxes are no repetition.
    """
    base = os.path.abspath(root)
    canonical = [canonical_path(path, base) for path in paths]
    allowed = [os.path.abspath(extra) for extra in extra_roots]
    for index, path in enumerate(canonical):
        if path[:1] == "/" and not any(is_under(path, extra) for extra in allowed):
            roots = ", ".join([base, *allowed])
            findings.error(index, problem.OUTSIDE, f"{paths[index]}, allowed: {roots}")
            canonical[index] = ""
    if len(set(canonical)) < len(canonical):
        _check_repeats(canonical if boxes is None else _with_boxes(canonical, boxes), labels, findings)
    if files_too:
        _check_files(canonical, base, allowed, findings)


def _check_repeats(canonical: Sequence[str], labels: np.ndarray, findings: Findings) -> None:
    first: dict[str, int] = {}
    for index, path in enumerate(canonical):
        earlier = first.setdefault(path, index) if path else index
        if earlier == index:
            continue
        if labels[earlier] < 0 <= labels[index]:
            first[path] = index
        if labels[earlier] != labels[index] and labels[earlier] >= 0 and labels[index] >= 0:
            value = f"category_id={labels[index]}, but record {earlier} has {labels[earlier]}"
            findings.error(index, problem.TWO_LABELS, value)
        else:
            findings.note(index, problem.REPEATED, f"the same image as record {earlier}")


def _with_boxes(canonical: Sequence[str], boxes: np.ndarray) -> list[str]:
    return [path and path + box for path, box in zip(canonical, box_texts(boxes))]


def _check_files(canonical: Sequence[str], root: str, extra_roots: Sequence[str], findings: Findings) -> None:
    # Listing each folder once costs far fewer round trips to the disk than a question for each file.
    by_folder: dict[str, list[int]] = defaultdict(list)
    for index, path in enumerate(canonical):
        if path:
            by_folder[path[: path.rfind("/") + 1]].append(index)
    roots, near = RealRoots((root, *extra_roots)), NearPaths()
    for folder, indices in by_folder.items():
        place = os.path.join(root, folder)
        present, links = _file_names(place)
        absent = [index for index in indices if canonical[index][len(folder) :] not in present]
        for index in absent:
            findings.error(index, problem.MISSING_FILE, _missing(os.path.join(root, canonical[index]), near))
        led_out = roots.target_outside(place) if present else None
        for index in indices if links or led_out else ():
            name = canonical[index][len(folder) :]
            if name not in present:
                continue
            target = roots.target_outside(place + name) if name in links else led_out and os.path.join(led_out, name)
            if target:
                allowed = ", ".join(roots.given)
                findings.error(index, problem.LEADS_OUT, f"{place}{name} leads to {target}, allowed: {allowed}")


def _missing(path: str, near: NearPaths) -> str:
    """The path of a file that is not there, with the file that may have been meant."""
    if os.path.lexists(path):
        why = "a folder" if os.path.isdir(path) else "not a regular file" if os.path.exists(path) else "a broken link"
        return f"{path} ({why})"
    found = near.found(path)
    if found is None:
        return f"{path} (it has backslashes; slashes are written between folders)" if "\\" in path else path
    return f"{path} (the disk has {found[0]}: they differ in {found[1]})"


def _file_names(folder: str) -> tuple[set[str], set[str]]:
    """The names of the files in a folder, and the names among them that are links."""
    present, links = set(), set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file():
                    present.add(entry.name)
                    if entry.is_symlink():
                        links.add(entry.name)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return set(), set()
    return present, links


def shown(value: object) -> str:
    """A JSON value as the file has it, cut to a readable length."""
    try:
        text = orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
