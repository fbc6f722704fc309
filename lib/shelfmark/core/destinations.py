"""Places for results, checked before the work begins."""

from __future__ import annotations

import os
from pathlib import Path

from shelfmark.core.disk import DiskFullError, require_room
from shelfmark.core.errors import UserError
from shelfmark.core.folders import require_outside
from shelfmark.core.places import work_place
from shelfmark.core.write_errors import NotWritableError, refused


def require_place(path: Path, what: str, is_folder: bool = False, size_bytes: int = 0) -> Path:
    """`path`, if a file (with `is_folder`, a folder) can be written there; nothing is left there yet.

    A small file is made on trial and removed: only the file system knows of read-only mounts, quotas, folders of the
    kernel and rights beyond the mode. what: as `--out`. size_bytes: of what will be written, where that is known.
    Raises a UserError where a part of the path is a file, is not writable or has too long a name, where `path` is a
    folder that should be a file, or the other way round, where a folder would lie in one that is replaced whole, and
    where fewer bytes are free.
    """
    if "\0" in str(path):
        raise UserError(f"{what} {str(path)!r} holds a NUL character; give another path.")
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise NotWritableError(path, refused(path, error).refusal, size_bytes or None, f"{what} ") from None
    if path.is_dir() and not is_folder:
        raise UserError(f"{what} {path} is a folder; name a file in it.")
    if path.exists() and not path.is_dir() and is_folder:
        raise UserError(f"{what} {path} is a file; give a folder.")
    if is_folder:
        require_outside(path)
    whole = Path(os.path.abspath(path))
    above = next(folder for folder in whole.parents if os.path.lexists(folder))
    if not above.is_dir():
        raise UserError(f"{what} {path} cannot be written: {above} is no folder. Give another path.")
    _try(above / (whole.relative_to(above).parts or (whole.name,))[0], path, what, size_bytes)
    return path


def _try(first: Path, path: Path, what: str, size_bytes: int) -> None:
    """Makes and removes a work place for `first`, the first part of `path` that is missing."""
    try:
        with work_place(first):
            require_room(path, size_bytes)
    except NotWritableError as error:
        raise NotWritableError(path, error.refusal, size_bytes or None, f"{what} ") from None
    except DiskFullError as error:
        raise UserError(f"{what} {DiskFullError(path, error.reason, size_bytes or error.needed_bytes)}") from None
