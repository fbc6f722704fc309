"""Folders that are whole or absent: made beside, then put in place with one rename.

A folder which is there is replaced only where it is one of ours. Where the system can, both names are exchanged at
once, so that the path holds a whole folder at every moment. Readers rename nothing.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from shelfmark.core.disk import DiskFullError, fsync_folder, fsync_tree, give_mode, require_room
from shelfmark.core.errors import UserError
from shelfmark.core.places import Place, former_of, work_place
from shelfmark.core.write_errors import NotWritableError, write_errors_told

MANIFEST, CARD = "manifest.json", "README.md"
CHECKPOINT, FEATURES, INDEX, EXPORTED = "checkpoint", "features", "index", "exported model"
# Of each kind: the files beside the manifest, which are enough where the manifest is damaged, and names that its
# manifest has, already in version 0.1.0.
_PAYLOADS: dict[str, tuple[set[str], ...]] = {
    CHECKPOINT: ({"model.safetensors", "state.pt"},),
    FEATURES: ({"features.npy", "rows.npz"},),
    INDEX: (
        {"index.faiss", "rows.npz"},
        {"store.json", "rows.npz"},
        {"index.faiss", "rows.npz", "thresholds.json"},
        {"store.json", "rows.npz", "thresholds.json"},
    ),
}
_NAMES = {
    FEATURES: {"num_rows", "dim"},
    INDEX: {"kind", "metric", "num_vectors"},
    CHECKPOINT: {"files", "config"},
}
_UNKNOWN = ""
_AS_WORDS = {CHECKPOINT: "a checkpoint", FEATURES: "features", INDEX: "an index", EXPORTED: "an exported model"}
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_NO_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM}
_READ_AGAIN = 10
_RENAMES_S = 0.01

T = TypeVar("T")


def holds_our_manifest(folder: Path) -> bool:
    """Whether the folder has a manifest.json of Shelfmark, or a damaged or no manifest and exactly our other files.

    A checkpoint's README.md, its model card, does not count.
    """
    return _kind_of(folder) is not None


def _kind_of(folder: Path) -> str | None:
    """The kind of a folder of ours, _UNKNOWN where its manifest does not tell; None of a folder that is not ours."""
    try:
        told = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        there = set(os.listdir(folder)) - {MANIFEST, CARD} if folder.is_dir() else set()
        return next((kind for kind, payloads in _PAYLOADS.items() if there in payloads), None)
    if not isinstance(told, dict) or "format_version" not in told:
        return None
    if told.get("kind") == EXPORTED:
        return EXPORTED
    kind = next((kind for kind, names in _NAMES.items() if names <= told.keys()), None)
    return _UNKNOWN if kind is None and "digest" in told else kind


@contextmanager
def atomic_folder(
    path: Path,
    *,
    kind: str | None = None,
    is_ours: Callable[[Path], bool] = holds_our_manifest,
    previous: Path | None = None,
    size_bytes: int | None = None,
) -> Iterator[Path]:
    """Yields an empty folder, which takes `path`'s place at the end, its files on the disk. An error removes it.

    kind: of what is written, as CHECKPOINT; a folder of another kind is not replaced.
    is_ours: whether an existing folder may be replaced; if not, a UserError comes before any work. previous: where the
    replaced folder goes (a copy, where `path` is a link to a folder elsewhere); without it that folder is removed.
    size_bytes: of the files to write; the room for them is checked at once.
    """
    if kind is not None:
        is_ours = _is_of_kind(kind)
    path = Path(path)
    path = path.resolve() if path.is_symlink() and path.is_dir() else path
    require_outside(path)
    for standing in (path, previous):
        if standing is not None:
            _require_replaceable(standing, is_ours)
    # The inner block looks at the disk before the work place, and its files, are removed.
    with write_errors_told(path, size_bytes), work_place(path) as place, write_errors_told(path, size_bytes):
        if size_bytes is not None:
            require_room(path, size_bytes)
        os.mkdir(place.made)
        yield place.made
        for parent, _, files in os.walk(place.made):
            for name in files:
                give_mode(Path(parent, name), place.mode)
        fsync_tree(place.made)
        _require_replaceable(path, is_ours)
        if previous is not None and not _is_beside(path, previous):
            _copy_away(path, previous, is_ours)
            previous = None
        former = _put_in_place(place, path)
        if former is not None and previous is not None:
            _put_away(former, previous)


def require_outside(path: Path) -> None:
    """Raises a UserError where `path` lies in a folder that is replaced whole, and would go with it."""
    for folder in Path(os.path.abspath(path)).parents:
        kind = _kind_of(folder) if os.path.isfile(folder / MANIFEST) else None
        if kind:
            raise UserError(
                f"{path} lies in {folder}, the folder of {_AS_WORDS[kind]}: the next one that is written there would"
                " remove it. Give a path outside."
            )


def folder_to_read(path: Path) -> Path:
    """`path`; if a kill during its replacement left nothing there, the place where its former folder is now."""
    return path if os.path.lexists(path) else former_of(path) or path


def read_folder(path: Path, read: Callable[[Path], T]) -> T:
    """The result of `read` for the folder at `path`. `read` is called again if a writer replaced the folder meanwhile.

    Otherwise a reader could take files of two folders for one damaged folder.
    """
    for _ in range(_READ_AGAIN):
        folder = folder_to_read(path)
        before = _identity(folder)
        try:
            value = read(folder)
        except (UserError, OSError):
            now = _identity(folder)
            if now is None:
                # A writer is between two renames, or nothing is there: then the last try says so.
                time.sleep(_RENAMES_S)
            elif now == before:
                raise
            continue
        if before == _identity(folder):
            return value
    return read(folder_to_read(path))


def left_by_version_1(path: Path) -> str:
    """A hint for the error about a missing folder: the name that a killed version 0.1.0 gave it; empty if none did."""
    old = path.parent / f"{path.name}.old"  # not with_name: `.` and `/` have no name
    if path.exists() or not holds_our_manifest(old):
        return ""
    return f" {old} may be what an earlier version left of it when it was killed; if so, rename it to {path.name}."


def exchange(first: Path, second: Path) -> bool:
    """Exchanges two names at once. False where the system or the file system cannot; nothing is changed then."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(first), None, str(second))


def _is_free(path: Path) -> bool:
    """Whether `path` is missing or an empty folder."""
    if path.is_symlink() or not path.is_dir():
        return not os.path.lexists(path)
    return next(os.scandir(path), None) is None


def _is_of_kind(kind: str) -> Callable[[Path], bool]:
    return lambda folder: _kind_of(folder) in (kind, _UNKNOWN)


def _require_replaceable(path: Path, is_ours: Callable[[Path], bool]) -> None:
    if not _is_free(path) and (path.is_symlink() or not path.is_dir() or not is_ours(path)):
        raise UserError(
            f"{path} exists and is not a folder that this command wrote, so it is not replaced. Give another path, or"
            " move it away."
        )


def _put_in_place(place: Place, path: Path) -> Path | None:
    """Renames what was made to `path`; returns where the folder that stood there is now."""
    former = None
    if _is_free(path):
        # A rename never replaces a folder that is not empty.
        os.rename(place.made, path)
    elif exchange(place.made, path):
        former = place.made
    else:
        former = place.former
        os.rename(path, former)
        try:
            os.rename(place.made, path)
        except OSError:
            os.rename(former, path)
            raise
    fsync_folder(path.parent)
    return former


def _is_beside(path: Path, previous: Path) -> bool:
    return path.parent.resolve() == previous.parent.resolve()


def _copy_away(path: Path, previous: Path, is_ours: Callable[[Path], bool]) -> None:
    """A copy of the folder that will be replaced, before it is: no rename leads to another disk."""
    if _is_free(path):
        return
    try:
        with atomic_folder(previous, is_ours=is_ours) as made:
            shutil.copytree(path, made, dirs_exist_ok=True)
    except (DiskFullError, NotWritableError) as error:
        # Told of the disk that is full, which is not that of `path`.
        raise UserError(str(error)) from error


def _put_away(former: Path, previous: Path) -> None:
    if _is_free(previous):
        os.rename(former, previous)
    elif not exchange(former, previous):
        os.rename(previous, former.with_name(f"{former.name}.older"))
        os.rename(former, previous)
    fsync_folder(previous.parent)


def _identity(folder: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(folder)
    except OSError:
        return None
    # A number is given again once its folder is removed.
    return found.st_dev, found.st_ino, found.st_mtime_ns
