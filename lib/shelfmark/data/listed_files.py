"""Whether the files of many paths are there: each folder is listed once, and no file is asked for by itself.

Legend: N records.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np

from shelfmark.core.byte_runs import gathered, run_groups
from shelfmark.core.strings import Strings
from shelfmark.data import findings as problem
from shelfmark.data.findings import Findings
from shelfmark.data.near_paths import NearPaths
from shelfmark.data.real_roots import RealRoots

_SLASH = ord("/")


def check_files(paths: Strings, root: str, extra_roots: Sequence[str], findings: Findings) -> None:
    """Reports files that are not there, and files that a link leads to outside of the roots.

    paths: (N,) canonical, relative to `root` or absolute; an empty one is passed over.
    """
    roots, near = RealRoots((root, *extra_roots)), NearPaths()
    for folder, rows, names in _by_folder(paths):
        place = os.path.join(root, folder)
        present, links = _file_names(place)
        if not present.issuperset(names):
            for row in (row for row, name in zip(rows.tolist(), names) if name not in present):
                findings.error(row, problem.MISSING_FILE, _missing(os.path.join(root, paths[row]), near))
        led_out = roots.folder_outside(place) if present else None
        for row, raw in zip(rows.tolist(), names) if links or led_out else ():
            if raw not in present:
                continue
            name = os.fsdecode(raw)
            target = roots.target_outside(place + name) if raw in links else led_out and os.path.join(led_out, name)
            if target:
                allowed = ", ".join(roots.given)
                findings.error(row, problem.LEADS_OUT, f"{place}{name} leads to {target}, allowed: {allowed}")


def _by_folder(paths: Strings) -> Iterator[tuple[str, np.ndarray, list[bytes]]]:
    """Each folder, with a slash at its end, with the rows, rising, that are in it and the names of their files."""
    data, begins, ends = np.ascontiguousarray(paths.data), paths.offsets[:-1], paths.offsets[1:]
    names_begin = _behind_last_slash(paths)
    order, limits = run_groups(data, begins, names_begin - begins)
    order, limits = _without_empty(order, limits, ends > begins)
    # No name of a file has a slash, so that slashes tell names apart.
    names, places = gathered(data, names_begin[order], (ends - names_begin)[order], behind=b"/")
    # In the order of their first records, which often is the order in which a disk has the folders.
    filled = np.flatnonzero(np.diff(limits))
    filled = filled[np.argsort(order[limits[filled]])]
    for first, end in zip(limits[filled].tolist(), limits[filled + 1].tolist()):
        rows = order[first:end]
        folder = data[begins[rows[0]] : names_begin[rows[0]]].tobytes()
        yield os.fsdecode(folder), rows, names[places[first] : places[end] - 1].tobytes().split(b"/")


def _without_empty(order: np.ndarray, limits: np.ndarray, is_given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The groups without the rows of empty paths."""
    stays = is_given[order]
    if stays.all():
        return order, limits
    return order[stays], np.concatenate([[0], np.cumsum(stays)])[limits]


def _behind_last_slash(paths: Strings) -> np.ndarray:
    """(N,) int64: where in the data the name of each path's file begins."""
    begins, ends = paths.offsets[:-1], paths.offsets[1:]
    slashes = np.flatnonzero(paths.data == _SLASH)
    if not len(slashes):
        return begins
    last = slashes[np.maximum(np.searchsorted(slashes, ends) - 1, 0)]
    return np.where((last >= begins) & (last < ends), last + 1, begins)


def _missing(path: str, near: NearPaths) -> str:
    """The path of a file that is not there, with the file that may have been meant."""
    if os.path.lexists(path):
        why = "a folder" if os.path.isdir(path) else "not a regular file" if os.path.exists(path) else "a broken link"
        return f"{path} ({why})"
    found = near.found(path)
    if found is None:
        return f"{path} (it has backslashes; slashes are written between folders)" if "\\" in path else path
    return f"{path} ({problem.THE_DISK_HAS} {found[0]}: they differ in {found[1]})"


def _file_names(folder: str) -> tuple[set[bytes], set[bytes]]:
    """The names of the files in a folder, as the disk has them, and the names among them that are links."""
    present, links = set(), set()
    try:
        with os.scandir(os.fsencode(folder)) as entries:
            for entry in entries:
                if entry.is_symlink():
                    # Unlike the entry's own way, this one is no error where a link leads to itself.
                    if os.path.isfile(entry.path):
                        links.add(entry.name)
                elif entry.is_file():
                    present.add(entry.name)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return set(), set()
    return present | links, links
