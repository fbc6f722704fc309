"""The identity of a picture: its file, however the path is spelled; and of a record: its picture and its box.

Every comparison uses one of the two. By picture: a leak, what is held out, what is looked at before training, since a
photograph that was learned is known as a whole. By record: a repetition, a union, what two lists name, what a search
leaves out, since two boxes of a photograph are two products. Without boxes the two are the same. Names of pictures
(`image_id`) are for people and other programs, and may repeat.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np

from shelfmark.core.strings import Strings
from shelfmark.data.boxes import box_texts

_SLASH, _DOT = ord("/"), ord(".")
_BYTES_AT_ONCE, _PATHS_AT_ONCE = 1 << 23, 1 << 16


def identities(paths: Iterable[str], root: Path) -> Iterator[str]:
    """The absolute, normalised form of each path: equal forms are one picture. No disk is touched.

    root: what relative paths start from.
    """
    base = os.path.abspath(root)
    prefix = base.rstrip("/") + "/"
    canonical = (canonical_path(path, base) for path in paths)
    return (path if path[:1] == "/" else prefix + path for path in canonical)


def image_numbers(paths: Iterable[str], root: Path) -> np.ndarray:
    """(N,) int64: equal numbers are one picture, in the order in which pictures first occur. root: as `identities`.

    Links are followed, so one look at the disk is taken for each path. A path of no file counts as it is spelled.
    """
    numbers: dict[str, int] = {}
    real_folder = cache(os.path.realpath)

    def real(path: str) -> str:
        folder, name = os.path.split(path)
        return os.path.realpath(path) if os.path.islink(path) else os.path.join(real_folder(folder), name)

    found = map(real, identities(paths, root))
    return np.fromiter((numbers.setdefault(one, len(numbers)) for one in found), dtype=np.int64)


def record_identities(paths: Iterable[str], root: Path, boxes: np.ndarray | None) -> Iterator[str]:
    """As `identities`, of records: followed by the box where there is one. boxes: (N, 4), NaN for none; or None."""
    pictures = identities(paths, root)
    return pictures if boxes is None else map("".join, zip(pictures, box_texts(boxes)))


def record_numbers(paths: Iterable[str], root: Path, boxes: np.ndarray | None) -> np.ndarray:
    """As `image_numbers`, of records: (N,) int64, equal where picture and box are. boxes: (N, 4), NaN for none; or
    None."""
    pictures = image_numbers(paths, root)
    if boxes is None:
        return pictures
    numbers: dict[tuple[int, str], int] = {}
    found = zip(pictures.tolist(), box_texts(boxes))
    return np.fromiter((numbers.setdefault(one, len(numbers)) for one in found), dtype=np.int64)


def canonical_path(path: str, root: str) -> str:
    """`path` without detours: relative to `root` if it lies under it, else absolute. Lexical, no disk is touched.

    root: absolute and normalised. Two spellings of one file (`a//b.jpg`, `./a/b.jpg`) come out equal.
    """
    # Nearly every path of a large file is plain already, and is returned as the very same object.
    if path[:1] not in ("/", ".") and "//" not in path and "/." not in path:
        return path
    absolute = os.path.normpath(os.path.join(root, path))
    return absolute[len(root.rstrip("/")) + 1 :] if is_under(absolute, root) else absolute


def keys_under(home: Path, paths: Strings, root: Path) -> Strings:
    """(N,) a key of each picture: its path relative to `home` if it lies under it, else absolute; no disk is touched.

    Equal keys are one picture, whatever folder `home` is on this machine. root: what relative paths start from.
    """
    base, start = os.path.abspath(home), os.path.abspath(root)
    if base != start:
        return Strings.of(canonical_path(path, base) for path in identities(paths, root))
    return with_detours_written(paths, lambda row, path: canonical_path(path, base))


def with_detours_written(paths: Strings, written: Callable[[int, str], str]) -> Strings:
    """The paths, those of `rows_with_detours` as `written` gives them. written: takes a row and its path."""
    odd = rows_with_detours(paths)
    if not len(odd):
        return paths
    parts = []
    for begin in range(0, len(paths), _PATHS_AT_ONCE):
        part = paths.take(np.arange(begin, min(begin + _PATHS_AT_ONCE, len(paths))))
        first, last = np.searchsorted(odd, (begin, begin + _PATHS_AT_ONCE))
        if first < last:
            texts = list(part)
            for row in odd[first:last].tolist():
                texts[row - begin] = written(row, texts[row - begin])
            part = Strings.of(texts)
        parts.append(part)
    return Strings.joined(parts)


def rows_with_detours(paths: Strings) -> np.ndarray:
    """(n,) rows, rising, of the paths that begin with a slash or a dot, or have a slash before one of the two: those
    that `canonical_path` may change."""
    data, offsets = paths.data, paths.offsets
    begins = offsets[:-1][np.diff(offsets) > 0]
    found = [np.searchsorted(offsets, begins[np.isin(data[begins], (_SLASH, _DOT))], "right") - 1]
    for start in range(0, len(data), _BYTES_AT_ONCE):
        piece = data[start : start + _BYTES_AT_ONCE + 1]
        places = start + np.flatnonzero((piece[:-1] == _SLASH) & ((piece[1:] == _SLASH) | (piece[1:] == _DOT)))
        rows = np.searchsorted(offsets, places, "right") - 1
        found.append(rows[places + 1 < offsets[rows + 1]])
    return np.unique(np.concatenate(found))


def is_under(path: str, folder: str) -> bool:
    """Whether an absolute, normalised path lies in `folder` or below it."""
    return path.startswith(folder.rstrip("/") + "/")
