"""The identity of a picture: its file, however the path is spelled.

Every comparison of pictures uses it: a leak, a repetition, a picture that two lists name. Names of pictures
(`image_id`) are for people and other programs, and may repeat.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np


def identities(paths: Iterable[str], root: Path) -> Iterator[str]:
    """The absolute, normalised form of each path: equal forms are one picture. No disk is touched.

    root: what relative paths start from.
    """
    base = os.path.abspath(root)
    return (os.path.join(base, canonical_path(path, base)) for path in paths)


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


def canonical_path(path: str, root: str) -> str:
    """`path` without detours: relative to `root` if it lies under it, else absolute. Lexical, no disk is touched.

    root: absolute and normalised. Two spellings of one file (`a//b.jpg`, `./a/b.jpg`) come out equal.
    """
    # Nearly every path of a large file is plain already, and is returned as the very same object.
    if path[:1] not in ("/", ".") and "//" not in path and "/." not in path:
        return path
    absolute = os.path.normpath(os.path.join(root, path))
    return absolute[len(root.rstrip("/")) + 1 :] if is_under(absolute, root) else absolute


def is_under(path: str, folder: str) -> bool:
    """Whether an absolute, normalised path lies in `folder` or below it."""
    return path.startswith(folder.rstrip("/") + "/")
