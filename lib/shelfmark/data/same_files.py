"""Files of the same bytes."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

from shelfmark.data.file_threads import looked_at

_ENDS_BYTES = 4096


def same_files(root: Path, paths: Sequence[str]) -> list[list[str]]:
    """The groups of two or more files with the same bytes, each in the order of `paths`, which are relative to `root`.

    Most files are told apart by their sizes, the others by their first and last 4,096 bytes; only what agrees in both
    is read as a whole. What cannot be read is like no other file.
    """
    folder = os.fspath(root)
    groups = [list(paths)]
    for look in (_size, _ends, _digest):
        groups = [group for one in groups for group in _divided(folder, one, look)]
    return groups


def _divided(folder: str, paths: Sequence[str], look: Callable[[str], Hashable]) -> list[list[str]]:
    def looked(part: Sequence[str]) -> list[Hashable]:
        return [_or_none(look, os.path.join(folder, path)) for path in part]

    groups: dict[Hashable, list[str]] = defaultdict(list)
    for path, key in zip(paths, looked_at(looked, paths)):
        if key is not None:
            groups[key].append(path)
    return [group for group in groups.values() if len(group) > 1]


def _or_none(look: Callable[[str], Hashable], place: str) -> Hashable:
    try:
        return look(place)
    except OSError:
        return None


def _size(place: str) -> int:
    return os.stat(place).st_size


def _ends(place: str) -> bytes:
    with open(place, "rb", buffering=0) as stream:
        size = os.fstat(stream.fileno()).st_size
        first = os.pread(stream.fileno(), _ENDS_BYTES, 0)
        return first + os.pread(stream.fileno(), _ENDS_BYTES, max(0, size - _ENDS_BYTES))


def _digest(place: str) -> bytes:
    with open(place, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
