"""One writer a folder: the second is told who the first is."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from shelfmark.core.disk import disk_full_told, make_folders, remove_empty, system_says
from shelfmark.core.errors import UserError
from shelfmark.core.owners import Owner, held, owner_in, this_process, try_flock

_TRIES = 100


@contextmanager
def folder_lock(folder: Path, purpose: str) -> Iterator[None]:
    """Holds the lock of a folder, which need not exist. If another process holds it, a UserError at once says which.

    purpose: what the holder does, for that error, as in "adding images". The lock is the file `.<name>.lock` beside the
    folder; folders above that were made for it go with it, if nothing came into them. It ends with the process, even a
    killed one. One process cannot take it twice. Where the file system has no flock, the file alone is the lock, and a
    file that a killed process left on another machine is deleted by hand.
    """
    folder = Path(os.path.abspath(folder))
    file = folder.with_name(f".{folder.name}.lock")
    try:
        with disk_full_told(file):
            made = make_folders(file.parent)
            descriptor = _locked(file, folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be locked for {purpose}: {system_says(error)}.") from None
    with held(descriptor):
        owner = this_process()
        try:
            with disk_full_told(file):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, replace(owner, command=f"{owner.command} ({purpose})").text.encode(), 0)
            yield
        finally:
            # Removed while the lock is held: no other process can have locked a new file of this name yet.
            if os.getpid() == owner.pid and _stands(descriptor, file):
                with suppress(OSError):
                    file.unlink()
                remove_empty(made)


def _locked(file: Path, folder: Path) -> int:
    """An open descriptor of the lock file that stands at this name, locked."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    for _ in range(_TRIES):
        descriptor = os.open(file, flags, 0o666)
        try:
            lock = try_flock(descriptor)
            _require_lone_file(descriptor, file, folder)
            text = os.pread(descriptor, 1 << 16, 0)
            owner = owner_in(text)
            if lock is False:
                raise _in_use(owner, folder)
            if text and owner is None:
                raise _foreign("holds something else than the name of a process", file, folder)
            if lock is None and owner is not None:
                _require_gone(owner, file, folder)
            if _stands(descriptor, file):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        # Its holder removed the file between our opening and locking it.
        os.close(descriptor)
    raise _in_use(None, folder)


def _stands(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(file))
    except FileNotFoundError:
        return False


def _require_lone_file(descriptor: int, file: Path, folder: Path) -> None:
    """The lock file is overwritten and removed, so nothing else may share it."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise _foreign("is no regular file", file, folder)
    if found.st_nlink > 1:
        raise _foreign("has a second name elsewhere (a hard link)", file, folder)


def _foreign(what: str, file: Path, folder: Path) -> UserError:
    return UserError(
        f"{folder} cannot be locked: {file}, which should be its lock, {what}. It is left as it is. Move it away, or"
        " delete it if nobody needs it; then try again."
    )


def _require_gone(owner: Owner, file: Path, folder: Path) -> None:
    if not owner.is_gone:
        error = _in_use(owner, folder)
        raise UserError(f"{error} If that process has ended, delete {file}.")


def _in_use(owner: Owner | None, folder: Path) -> UserError:
    if owner is None:
        return UserError(f"{folder} is being changed by another process. Wait until it has ended, then try again.")
    return UserError(
        f"{folder} is being changed by process {owner.pid} on {owner.host} since {owner.since}: {owner.command}."
        " Wait until it has ended, or stop it; then try again."
    )
