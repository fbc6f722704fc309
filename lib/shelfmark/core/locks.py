"""One writer a folder: the second is told who the first is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from shelfmark.core.disk import disk_full_told, make_folders
from shelfmark.core.errors import UserError
from shelfmark.core.owners import Owner, held, owner_in, this_process, try_flock

_TRIES = 100


@contextmanager
def folder_lock(folder: Path, purpose: str) -> Iterator[None]:
    """Holds the lock of a folder, which need not exist; a UserError at once says who holds it else.

    purpose: what is done meanwhile, for that error, as in "adding images". The lock is the file `.<name>.lock` beside
    the folder. It ends with the process, also with a killed one; the same process cannot have it twice either. Where
    the file system has no flock, the file alone is the lock, and one that a killed process left on another machine has
    to be deleted by hand.
    """
    folder = Path(os.path.abspath(folder))
    file = folder.with_name(f".{folder.name}.lock")
    try:
        with disk_full_told(file):
            make_folders(file.parent)
            descriptor = _locked(file, folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be locked for {purpose}: {error.strerror} ({error.filename}).") from None
    with held(descriptor):
        owner = this_process()
        try:
            with disk_full_told(file):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, replace(owner, command=f"{owner.command} ({purpose})").text.encode(), 0)
            yield
        finally:
            # While the lock is held, so that nobody can have opened another file of this name.
            if os.getpid() == owner.pid:
                with suppress(OSError):
                    file.unlink()


def _locked(file: Path, folder: Path) -> int:
    """An open descriptor of the lock file that stands at this name, locked."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    for _ in range(_TRIES):
        descriptor = os.open(file, flags, 0o666)
        try:
            lock = try_flock(descriptor)
            text = os.pread(descriptor, 1 << 16, 0)
            if lock is None and text:
                _require_gone(owner_in(text), file, folder)
            if lock is False:
                raise _in_use(owner_in(text), folder)
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


def _require_gone(owner: Owner | None, file: Path, folder: Path) -> None:
    if owner is None or not owner.is_gone:
        error = _in_use(owner, folder)
        raise UserError(f"{error} If that process has ended, delete {file}.")


def _in_use(owner: Owner | None, folder: Path) -> UserError:
    if owner is None:
        return UserError(f"{folder} is being changed by another process. Wait until it has ended, then try again.")
    return UserError(
        f"{folder} is being changed by process {owner.pid} on {owner.host} since {owner.since}: {owner.command}."
        " Wait until it has ended, or stop it; then try again."
    )
