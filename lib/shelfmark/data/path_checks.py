"""The checks of paths in annotations: where they lead, whether they repeat, and whether the files are there.

Legend: N records.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from shelfmark.core.strings import Strings
from shelfmark.data import findings as problem
from shelfmark.data.boxes import box_texts
from shelfmark.data.findings import Findings
from shelfmark.data.identity import canonical_path, is_under, with_detours_written
from shelfmark.data.listed_files import check_files

_MOST_HUNDREDTHS = 1e9


def check_paths(
    paths: Strings,
    labels: np.ndarray,
    root: Path,
    extra_roots: Sequence[Path],
    files_too: bool,
    findings: Findings,
    boxes: np.ndarray | None = None,
    names: Sequence[str] = (),
) -> None:
    """Reports paths outside the roots and repeated paths; with `files_too`, also missing files and files that a link
    leads to outside the roots.

    paths: (N,), empty where the path was reported as missing or wrong. labels: (N,), -1 for none. boxes: (N, 4), or
    None; several records of one path with different boxes are no repetition. names: of the labels, where errors shall
    say these.
    """
    base = os.path.abspath(root)
    allowed = [os.path.abspath(extra) for extra in extra_roots]
    canonical = _within_roots(paths, base, allowed, findings)
    _check_repeats(canonical, boxes, labels, names, findings)
    if files_too:
        check_files(canonical, base, allowed, findings)


def _within_roots(paths: Strings, base: str, allowed: Sequence[str], findings: Findings) -> Strings:
    """The paths without detours; empty for those outside of all roots, which are reported."""

    def written(row: int, given: str) -> str:
        path = canonical_path(given, base)
        if path[:1] == "/" and not any(is_under(path, extra) for extra in allowed):
            roots = ", ".join([base, *allowed])
            findings.error(row, problem.OUTSIDE, f"{given}, allowed: {roots}")
            return ""
        return path

    return with_detours_written(paths, written)


def _check_repeats(
    paths: Strings, boxes: np.ndarray | None, labels: np.ndarray, names: Sequence[str], findings: Findings
) -> None:
    first: dict[str, int] = {}
    for index, image in _images(paths, boxes, _repeated_rows(paths, boxes)):
        earlier = first.setdefault(image, index)
        if earlier == index:
            continue
        if labels[earlier] < 0 <= labels[index]:
            first[image] = index
        if labels[earlier] != labels[index] and labels[earlier] >= 0 and labels[index] >= 0:
            ours, theirs = (repr(names[label]) if names else label for label in (labels[index], labels[earlier]))
            value = f"{'label' if names else 'category_id'}={ours}, but record {earlier} has {theirs}"
            findings.error(index, problem.TWO_LABELS, value)
        else:
            findings.note(index, problem.REPEATED, f"the same image as record {earlier}")


def _repeated_rows(paths: Strings, boxes: np.ndarray | None) -> np.ndarray:
    """(n,) rows, rising: all whose path and box occur again, and perhaps a few more. None of an empty path."""
    keys = paths.hashes()
    if boxes is not None:
        # To hundredths of a pixel, as `box_texts` writes them. Larger ones are errors, and told as such.
        hundredths = np.nan_to_num(boxes.astype(np.float64).round(2) * 100, nan=-_MOST_HUNDREDTHS)
        rounded = hundredths.clip(-_MOST_HUNDREDTHS, _MOST_HUNDREDTHS).astype(np.int64)
        for side in rounded.T:
            keys = keys * 1_000_003 + side
    in_order = np.sort(keys)
    twice = np.unique(in_order[1:][in_order[1:] == in_order[:-1]])
    if not len(twice):
        return twice
    return np.flatnonzero(np.isin(keys, twice) & (np.diff(paths.offsets) > 0))


def _images(paths: Strings, boxes: np.ndarray | None, rows: np.ndarray) -> Iterator[tuple[int, str]]:
    texts: Iterable[str] = paths.take(rows)
    if boxes is not None:
        texts = map("".join, zip(texts, box_texts(boxes[rows])))
    return zip(rows.tolist(), texts)
