"""Work places: hidden folders in which a file or folder is made before it is renamed to its path beside them.

.<name>.<16 hex>.part/            the work place: unguessable, and for its user alone
    .<16 hex>.owner               the process that works here, which holds a lock on this file
    .<16 hex>.former              what is being replaced, where two names cannot be exchanged at once
    <name>                        what is being made
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from shelfmark.core.disk import disk_full_told, fsync_folder, make_folders, remove_empty
from shelfmark.core.errors import UserError
from shelfmark.core.owners import held, owner_in, this_process, try_flock
from shelfmark.core.write_errors import refused

_PART = re.compile(r"\.(?P<stem>.+)\.(?P<token>[0-9a-f]{16})\.part", re.DOTALL)
# A writer on another machine counts as dead when none of its files has changed for this long.
_ABANDONED_S = 24 * 3600
_TRIES = 20
_LONGEST_NAME_BYTES = 200


@dataclass(frozen=True)
class Place:
    """A work place. mode: of files that this process makes, by its umask."""

    folder: Path
    token: str
    name: str
    mode: int = 0o644

    @property
    def made(self) -> Path:
        """The file or folder that will be renamed to the path."""
        return self.folder / self.name

    @property
    def former(self) -> Path:
        return self.folder / f".{self.token}.former"

    @property
    def marker(self) -> Path:
        return self.folder / f".{self.token}.owner"


@contextmanager
def work_place(path: Path) -> Iterator[Place]:
    """A new, empty work place beside `path`, removed with its content at the end.

    Folders above that it had to make go too, if nothing came into them.
    Work places that dead writers of the same path left are removed first. Raises a UserError where the folder of `path`
    cannot be written to.
    """
    try:
        with disk_full_told(path):
            made = make_folders(path.parent)
            remove_litter(path.parent, path.name)
            try:
                place, descriptor = _new_place(path)
            except OSError:
                remove_empty(made)
                raise
    except OSError as error:
        raise refused(path, error) from None
    pid = os.getpid()
    with held(descriptor):
        try:
            yield place
        finally:
            # A forked child may leave this block too.
            if os.getpid() == pid:
                _remove(place)
                remove_empty(made)


def remove_litter(parent: Path, name: str | None = None) -> None:
    """Removes the work places in `parent` whose writers are dead: those for `name`, or all.

    Left alone: the place of a living process, a place of another machine that changed within a day, and a folder
    without our marker. If a kill came during a replacement, the former folder gets its name back.
    """
    stem = None if name is None else _stem(name)
    for place in _places(parent):
        found = _PART.fullmatch(place.folder.name)
        if found and stem in (None, found["stem"]):
            _remove_if_dead(place)


def former_of(path: Path) -> Path | None:
    """The folder that stood at `path` before a kill between the two renames of a replacement; None without one."""
    for place in _places(path.parent) if path.parent.is_dir() else []:
        if place.name == path.name and place.marker.is_file() and place.former.is_dir():
            return place.former
    return None


def _new_place(path: Path) -> tuple[Place, int]:
    for _ in range(_TRIES):
        token = secrets.token_hex(8)
        place = Place(path.with_name(f".{_stem(path.name)}.{token}.part"), token, path.name)
        # Nobody else can plant a link in it.
        os.mkdir(place.folder, 0o700)
        # Until it is locked, another process may remove this place as a dead writer's; then try again.
        with suppress(FileNotFoundError):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = _marked(place, flags)
            told = os.fstat(descriptor)
            if told.st_nlink:
                return Place(place.folder, token, path.name, stat.S_IMODE(told.st_mode)), descriptor
            os.close(descriptor)
    raise UserError(f"{path} cannot be written: its work folder was removed {_TRIES} times.")


def _marked(place: Place, flags: int) -> int:
    """A descriptor of the new marker, locked, which names this process. On a full disk no marker is left."""
    try:
        descriptor = os.open(place.marker, flags, 0o666)
    except OSError:
        with suppress(OSError):
            os.rmdir(place.folder)
        raise
    try:
        try_flock(descriptor, wait=True)
        text = this_process().text.encode()
        # A full disk may take a part of it.
        if os.write(descriptor, text) < len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place.marker))
    except BaseException:
        _remove(place)
        os.close(descriptor)
        raise
    return descriptor


def _stem(name: str) -> str:
    """`name`, or its hash where nothing could be added to it."""
    raw = os.fsencode(name)
    return name if len(raw) <= _LONGEST_NAME_BYTES else hashlib.sha256(raw).hexdigest()


def _places(parent: Path) -> list[Place]:
    found = []
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            matched = _PART.fullmatch(entry.name)
            if matched and entry.is_dir(follow_symlinks=False):
                found.append(Place(Path(entry.path), matched["token"], _name_in(Path(entry.path), matched)))
    return found


def _name_in(folder: Path, matched: re.Match[str]) -> str:
    if len(matched["stem"]) != 64:
        return matched["stem"]
    ours = (f".{matched['token']}.owner", f".{matched['token']}.former")
    names = [name for name in os.listdir(folder) if name not in ours]
    return names[0] if names else matched["stem"]


def _remove_if_dead(place: Place) -> None:
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(place.marker, flags)
    except OSError:
        # Its writer died before it left a mark, or is about to; only an empty folder goes.
        with suppress(OSError):
            os.rmdir(place.folder)
        return
    with held(descriptor):
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and _is_dead(place, descriptor):
            _put_back(place)
            _remove(place)


def _is_dead(place: Place, descriptor: int) -> bool:
    lock = try_flock(descriptor)
    if lock is False:
        return False
    owner = owner_in(os.read(descriptor, 1 << 16))
    if owner is None and lock:
        # The lock comes before the text: nothing was begun here.
        return os.listdir(place.folder) == [place.marker.name]
    gone = None if owner is None else owner.is_gone
    if lock and owner is not None and owner.boot and owner.boot == this_process().boot:
        # On one machine the lock is certain, whichever container the writer was in.
        return True
    return gone if gone is not None else time.time() - _last_change(place.folder) > _ABANDONED_S


def _last_change(folder: Path) -> float:
    times = [os.lstat(folder).st_mtime]
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            with suppress(OSError):
                times.append(os.lstat(os.path.join(parent, name)).st_mtime)
    return max(times)


def _put_back(place: Place) -> None:
    path = place.folder.with_name(place.name)
    if place.former.is_dir() and not os.path.lexists(path):
        os.rename(place.former, path)
        fsync_folder(path.parent)


def _remove(place: Place) -> None:
    """Everything in it, the marker last, so that a kill on the way leaves a place that is still known as ours."""
    with suppress(OSError):
        for name in os.listdir(place.folder):
            if name != place.marker.name:
                _discard(place.folder / name)
        place.marker.unlink(missing_ok=True)
        os.rmdir(place.folder)


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
