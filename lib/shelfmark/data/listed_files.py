"""Whether the files of many paths are there: each folder is listed once, and no file is asked for by itself.

Legend: N records.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np

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
        absent = [row for row, name in zip(rows, names) if name not in present]
        for row in absent:
            findings.error(row, problem.MISSING_FILE, _missing(os.path.join(root, paths[row]), near))
        led_out = roots.target_outside(place) if present else None
        for row, raw in zip(rows, names) if links or led_out else ():
            if raw not in present:
                continue
            name = os.fsdecode(raw)
            target = roots.target_outside(place + name) if raw in links else led_out and os.path.join(led_out, name)
            if target:
                allowed = ", ".join(roots.given)
                findings.error(row, problem.LEADS_OUT, f"{place}{name} leads to {target}, allowed: {allowed}")


def _by_folder(paths: Strings) -> Iterator[tuple[str, list[int], list[bytes]]]:
    """Each folder, with a slash at its end, with the rows that are in it and the names of their files."""
    begins, ends = paths.offsets[:-1], paths.offsets[1:]
    names_begin = _behind_last_slash(paths)
    text = memoryview(paths.data)  # type: ignore[arg-type]
    numbers: dict[bytes, int] = {}
    folders = (
        numbers.setdefault(text[begin:end].tobytes(), len(numbers))
        for begin, end in zip(_read_in_parts(begins), _read_in_parts(names_begin))
    )
    number_of = np.fromiter(folders, np.int32, len(paths))
    kept = np.flatnonzero(ends > begins)
    order = kept[np.argsort(number_of[kept], kind="stable")]
    limits = np.searchsorted(number_of[order], np.arange(len(numbers) + 1))
    for folder, number in numbers.items():
        rows = order[limits[number] : limits[number + 1]]
        if len(rows):
            places = zip(names_begin[rows].tolist(), ends[rows].tolist())
            yield os.fsdecode(folder), rows.tolist(), [text[begin:end].tobytes() for begin, end in places]


def _behind_last_slash(paths: Strings) -> np.ndarray:
    """(N,) int64: where in the data the name of each path's file begins."""
    begins, ends = paths.offsets[:-1], paths.offsets[1:]
    slashes = np.flatnonzero(paths.data == _SLASH)
    if not len(slashes):
        return begins
    last = slashes[np.maximum(np.searchsorted(slashes, ends) - 1, 0)]
    return np.where((last >= begins) & (last < ends), last + 1, begins)


def _read_in_parts(numbers: np.ndarray) -> Iterator[int]:
    # As one list, millions of integers take more memory than the paths.
    for start in range(0, len(numbers), 1 << 16):
        yield from numbers[start : start + (1 << 16)].tolist()


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
                if entry.is_file():
                    present.add(entry.name)
                    if entry.is_symlink():
                        links.add(entry.name)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return set(), set()
    return present, links
