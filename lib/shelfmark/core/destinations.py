"""Places for results, checked before the work begins."""

from __future__ import annotations

import os
from pathlib import Path

from shelfmark.core.errors import UserError


def require_place(path: Path, what: str, is_folder: bool = False) -> Path:
    """`path`, if a file (with `is_folder`, a folder) can be written there; nothing is made yet. what: as `--out`.

    Raises a UserError where a part of the path is a file, is not writable or has too long a name, and where `path`
    is a folder that should be a file, or the other way round.
    """
    if "\0" in str(path):
        raise UserError(f"{what} {str(path)!r} holds a NUL character; give another path.")
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise UserError(f"{what} {path} cannot be written: {error.strerror}. Give another path.") from None
    if path.is_dir() and not is_folder:
        raise UserError(f"{what} {path} is a folder; name a file in it.")
    if path.exists() and not path.is_dir() and is_folder:
        raise UserError(f"{what} {path} is a file; give a folder.")
    above = next(folder for folder in Path(os.path.abspath(path)).parents if os.path.lexists(folder))
    if not above.is_dir():
        raise UserError(f"{what} {path} cannot be written: {above} is no folder. Give another path.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"{what} {path} cannot be written: you may not write in {above}. Give another path.")
    return path
