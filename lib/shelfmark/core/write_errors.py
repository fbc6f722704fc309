"""What the system says when it refuses a write, in words that say what to do."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shelfmark.core.disk import DiskFullError, disk_full_told, free_bytes
from shelfmark.core.errors import UserError


@dataclass(frozen=True)
class _Refusal:
    """keeps: whether what stood there before is surely as it was."""

    reason: str
    remedy: str
    keeps: bool = True


_ELSEWHERE = "Write to another folder"
_NO_RIGHT = _Refusal("permission denied", f"{_ELSEWHERE}, or get the right to write in this one.")
_READ_ONLY = _Refusal("the file system is read-only", f"{_ELSEWHERE}, or mount that one for writing.")
_BROKEN = _Refusal("the disk has an error", f"{_ELSEWHERE}; the system's log (dmesg) may say more.", keeps=False)
_AWAY = _Refusal("its disk is no longer connected", f"Connect that disk again, or {_ELSEWHERE.lower()}.", keeps=False)
_GONE = _Refusal(
    "its folder was moved or removed, or its disk unmounted, meanwhile", "Bring it back, then try again.", keeps=False
)
_LONG = _Refusal("the name is too long", "Give a shorter one.")
_NO_FOLDER = _Refusal("a part of the path is no folder", f"{_ELSEWHERE}.")
_BUSY = _Refusal("the file is in use", "End the program that uses it, or give another path.")

# Whatever file they name, or none, these come from the disk.
_OF_DISK = {
    errno.EROFS: _READ_ONLY,
    errno.EIO: _BROKEN,
    **{
        getattr(errno, name): _AWAY
        for name in ("ESTALE", "ENOTCONN", "ENODEV", "ENXIO", "EHOSTDOWN", "EREMOTEIO", "ETIMEDOUT")
        if hasattr(errno, name)
    },
}
_OF_PATH = {
    errno.EACCES: _NO_RIGHT,
    errno.EPERM: _NO_RIGHT,
    errno.ENAMETOOLONG: _LONG,
    errno.ENOENT: _GONE,
    errno.ENOTDIR: _NO_FOLDER,
    errno.ELOOP: _NO_FOLDER,
    errno.ETXTBSY: _BUSY,
    errno.EBUSY: _BUSY,
}
# Error texts of faiss, safetensors and torch, which raise no OSError.
_WORDS = {
    r"Read-only file system": _READ_ONLY,
    r"Input/output error": _BROKEN,
    r"Stale file handle|Transport endpoint is not connected": _AWAY,
    r"Permission denied|Operation not permitted": _NO_RIGHT,
}


class NotWritableError(UserError):
    """The system refused to write a file, and not for want of room. A caller that knows a better path makes a new
    error of `refusal` and `needed_bytes`. what: the option that names the path, with a blank behind it."""

    def __init__(self, path: Path, refusal: _Refusal, needed_bytes: int | None = None, what: str = "") -> None:
        self.refusal, self.needed_bytes = refusal, needed_bytes
        needed = "" if needed_bytes is None else f"{needed_bytes:,} bytes are needed, "
        kept = " What stood there before is unchanged." if refusal.keeps else ""
        super().__init__(
            f"{what}{path} cannot be written: {refusal.reason}; {needed}{free_bytes(path):,} bytes are free."
            f" {refusal.remedy}{kept}"
        )


@contextmanager
def write_errors_told(path: Path, needed_bytes: int | None = None) -> Iterator[None]:
    """Turns every error of a disk that does not take `path` into a UserError: no room, no right, read-only, broken,
    unmounted ... Errors about other files pass."""
    with disk_full_told(path, needed_bytes):
        try:
            yield
        except NotWritableError as error:
            raise NotWritableError(path, error.refusal, needed_bytes or error.needed_bytes) from error
        except UserError:
            raise
        except Exception as error:
            refusal = _refusal(error, path)
            if refusal is None:
                raise
            raise NotWritableError(path, refusal, needed_bytes) from error


def refused(path: Path, error: OSError) -> NotWritableError:
    """The error to raise where `path` could not be made, whatever the system said."""
    # Its folder was there or was made a moment ago; where the kernel makes no files, as in /proc, it says ENOENT too.
    known = (_OF_DISK | _OF_PATH | {errno.ENOENT: _Refusal("no file can be made there", f"{_ELSEWHERE}.")}).get(
        error.errno or 0
    )
    return NotWritableError(path, known or _Refusal(error.strerror or str(error), f"{_ELSEWHERE}."))


def system_error_told(error: OSError) -> UserError | None:
    """The user's error for one of the system's that nobody nearer to its cause turned into words; None for those that
    are our own mistakes."""
    path = error.filename if isinstance(error.filename, str) else None
    try:
        with disk_full_told(Path(path or ".")):
            raise error
    except DiskFullError as full:
        # Writers of files name them; standard output and the temporary files of other libraries have no name here.
        what = path or "standard output or a temporary file"
        return UserError(f"{what} cannot be written: {full.reason}. Make room there.")
    except OSError:
        pass
    number = error.errno or 0
    if number in _OF_DISK:
        return UserError(f"{path or 'a file'} cannot be used: {error.strerror}. Look at the disk that it lies on.")
    if number in _OF_PATH and number != errno.ENOENT and path is not None:
        return UserError(f"{path} cannot be used: {error.strerror}.")
    return None


def _refusal(error: Exception, path: Path) -> _Refusal | None:
    if not isinstance(error, OSError):
        return next((told for words, told in _WORDS.items() if re.search(words, str(error))), None)
    number = error.errno or 0
    if number in _OF_DISK:
        return _OF_DISK[number]
    return _OF_PATH.get(number) if _is_about(error, path) else None


def _is_about(error: OSError, path: Path) -> bool:
    """Whether the error names `path`, a folder above it, something in it, or its work place."""
    whole = os.path.abspath(path)
    for named in (error.filename, error.filename2):
        if not isinstance(named, str):
            continue
        name = os.path.abspath(named)
        beside = f"{os.path.dirname(whole)}{os.sep}."
        if name == whole or whole.startswith(f"{name}{os.sep}") or name.startswith(f"{whole}{os.sep}"):
            return True
        if name.startswith(beside) and ".part" in name:
            return True
    return False
