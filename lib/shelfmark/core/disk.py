"""Writes that outlast a power cut, and the errors of a full disk."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from shelfmark.core.errors import UserError

_FULL = {errno.ENOSPC: "no space is left on the disk", errno.EDQUOT: "your quota on the disk is used up"}
_TOO_LARGE = {errno.EFBIG: "the file is larger than the file system or `ulimit -f` allows"}
_REASONS = _FULL | _TOO_LARGE
_NO_INODES = "no file more can be made on the disk: all its inodes are used"
# With this much free, bytes are not what is missing: one write takes at most a few times the bytes that it asked for.
_PLENTY_BYTES, _PLENTY = 1 << 30, 10
_PARTLY = "only a part of it was taken; the disk is full, or a quota or `ulimit -f` is used up"
# Error texts of faiss, safetensors, torch and numpy; the last two do not give the reason.
_WORDS = {
    r"No space left on device": _REASONS[errno.ENOSPC],
    r"Disk quota exceeded": _REASONS[errno.EDQUOT],
    r"File too large": _REASONS[errno.EFBIG],
    r"iostream error|inline_container.*(unexpected pos|write failed)|\d+ requested and \d+ written": _PARTLY,
}
_NO_SYNC = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF}
_NO_ALLOCATE = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM}
_MANY_FILES = 1000


class DiskFullError(UserError):
    """There was no room for a file. A caller that knows a better path makes a new error of `reason` and
    `needed_bytes`."""

    def __init__(self, path: Path, reason: str, needed_bytes: int | None = None) -> None:
        self.reason, self.needed_bytes = reason, needed_bytes
        free = free_bytes(path)
        needed = "" if needed_bytes is None else f"{needed_bytes:,} bytes are needed, "
        sizes, remedy = f"; {needed}{free:,} bytes are free", "Make room there, or write to another disk."
        if reason in _TOO_LARGE.values():
            remedy = "Raise that limit, or write elsewhere."
        elif reason == _NO_INODES:
            remedy = "Remove files there, or write to another disk."
        elif reason == _FULL[errno.ENOSPC] and (needed_bytes or 0) <= free:
            if free > max(_PLENTY_BYTES, _PLENTY * (needed_bytes or 0)):
                sizes += ": it may be out of inodes, or another limit was met"
            else:
                # The write may have no known size, but it needs more than is free.
                sizes = f"; at least {free + 1:,} bytes are needed, {free:,} bytes are free"
        super().__init__(f"{path} cannot be written: {reason}{sizes}. {remedy} What stood there before is unchanged.")


@contextmanager
def disk_full_told(path: Path, needed_bytes: int | None = None) -> Iterator[None]:
    """Turns the error of a full disk, a used-up quota or a limit of file size into a UserError about `path`."""
    try:
        yield
    except DiskFullError as error:
        raise DiskFullError(path, error.reason, needed_bytes or error.needed_bytes) from error
    except UserError:
        raise
    except Exception as error:
        reason = _why_full(error)
        if reason is None:
            raise
        if reason == _FULL[errno.ENOSPC] and _has_no_inodes(path):
            reason = _NO_INODES
        raise DiskFullError(path, reason, needed_bytes) from error


def require_room(path: Path, needed_bytes: int) -> None:
    """Raises a UserError where fewer than `needed_bytes` are free on the disk of `path`. Call it before long work."""
    if free_bytes(path) < needed_bytes:
        raise DiskFullError(path, _FULL[errno.ENOSPC], needed_bytes)


def free_bytes(path: Path) -> int:
    """The bytes that this user may still write on the disk of `path`, which need not exist."""
    found = _file_system(path)
    return found.f_bavail * found.f_frsize if found else 0


def allocate(descriptor: int, size_bytes: int, path: Path) -> None:
    """Makes an open file `size_bytes` long. Reserves the room where the file system can, so that a later write, or one
    through a memory map, cannot meet a full disk. Raises a UserError, which names `path`, where there is no room.
    """
    with disk_full_told(path, size_bytes):
        try:
            os.posix_fallocate(descriptor, 0, size_bytes)
        except AttributeError:
            _only_sized(descriptor, size_bytes, path)
        except OSError as error:
            if error.errno not in _NO_ALLOCATE:
                raise
            _only_sized(descriptor, size_bytes, path)


def fsync_file(path: Path) -> None:
    """Waits until the file's bytes are on the disk. A link at its name is an error."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(folder: Path) -> None:
    """Waits until the folder's names are on the disk: those of new, renamed and removed files."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def fsync_tree(folder: Path) -> None:
    """Waits until `folder`, and every file and folder in it, is on the disk."""
    files: list[Path] = []
    folders: list[Path] = []
    for parent, _, own in os.walk(folder):
        folders.append(Path(parent))
        files += [Path(parent, name) for name in own if not os.path.islink(os.path.join(parent, name))]
    # One call for a tree of pictures: each fsync of a small file would write the file system's journal.
    if len(files) < _MANY_FILES or not _syncfs(folder):
        for file in files:
            fsync_file(file)
        for one in reversed(folders):
            fsync_folder(one)


def make_folders(folder: Path) -> list[Path]:
    """Makes the folder and those above it that are missing, and waits until their names are on the disk.

    Returns those that it made, the deepest first, for `remove_empty`. Raises a UserError with the reason where it
    cannot be made: a file stands there, no permission, a full disk ...
    """
    missing = []
    at = folder.absolute()
    try:
        with disk_full_told(folder):
            while not at.exists():
                missing.append(at)
                at = at.parent
            folder.mkdir(parents=True, exist_ok=True)
            for one in missing:
                fsync_folder(one.parent)
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be made: {system_says(error)}. Give another path.") from None
    return missing


def remove_empty(folders: Sequence[Path]) -> None:
    """Removes those of the folders in which nothing stands; the deepest come first."""
    for folder in folders:
        with suppress(OSError):
            os.rmdir(folder)


def system_says(error: OSError) -> str:
    """The system's words for an error, with the file that it is about where that is known."""
    words = error.strerror or str(error)
    return words if error.filename is None else f"{words} ({error.filename})"


def give_mode(path: Path, mode: int) -> None:
    """Gives a file the read and write bits of `mode`: some libraries make files that their owner alone can read."""
    found = os.lstat(path)
    if stat.S_ISREG(found.st_mode) and (found.st_mode & 0o666) != (mode & 0o666):
        os.chmod(path, found.st_mode & 0o7111 | mode & 0o666)


def _why_full(error: BaseException) -> str | None:
    chain: list[BaseException] = []
    seen: BaseException | None = error
    while seen is not None and seen not in chain:
        chain.append(seen)
        seen = seen.__cause__ or seen.__context__
    for one in chain:
        if isinstance(one, OSError) and one.errno in _REASONS:
            return _REASONS[one.errno]
    for one in chain:
        for words, reason in _WORDS.items():
            if re.search(words, str(one)):
                return reason
    return None


def _file_system(path: Path) -> os.statvfs_result | None:
    for folder in (path, *path.absolute().parents):
        try:
            return os.statvfs(folder)
        except OSError:
            continue
    return None


def _has_no_inodes(path: Path) -> bool:
    found = _file_system(path)
    # Some file systems do not count inodes.
    return found is not None and found.f_files > 0 and found.f_favail == 0


def _only_sized(descriptor: int, size_bytes: int, path: Path) -> None:
    require_room(path, size_bytes)
    os.ftruncate(descriptor, size_bytes)


def _syncfs(folder: Path) -> bool:
    call = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if call is None:
        return False
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if call(descriptor):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    finally:
        os.close(descriptor)
    return True
