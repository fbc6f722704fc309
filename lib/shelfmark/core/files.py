"""Files that are whole or absent: written beside, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.disk import fsync_file, fsync_folder, give_mode
from shelfmark.core.errors import UserError
from shelfmark.core.places import work_place
from shelfmark.core.text_encoding import NotUtf8, utf8_text
from shelfmark.core.write_errors import write_errors_told


@contextmanager
def atomic_path(path: Path, size_bytes: int | None = None) -> Iterator[Path]:
    """Yields a path to write to; at the end it takes `path`'s place and is on the disk, on an error it is removed.

    size_bytes: of what will be written, for the error about a full disk. The file's mode is by the umask, whoever
    wrote it. Raises a UserError where `path` is a folder or a device.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is there and is not a regular file, so it is not replaced. Give another path.")
    with write_errors_told(path, size_bytes), work_place(path) as place, write_errors_told(path, size_bytes):
        yield place.made
        give_mode(place.made, place.mode)
        fsync_file(place.made)
        os.replace(place.made, path)
        fsync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text, line ends as given, whole or not at all."""
    with atomic_path(path) as beside:
        beside.write_bytes(text.encode("utf-8", "surrogateescape"))


def write_json(path: Path, value: object) -> None:
    """Writes indented JSON. NaN and infinity become null, because JSON has neither."""
    write_text(path, json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """`value` in JSON's own types: numpy and torch scalars and arrays unwrapped, tuples as lists, NaN as None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def read_json(path: Path) -> Any:
    """The value in a JSON file; a UserError names the file and place where it does not parse."""
    try:
        return json.loads(utf8_text(path.read_bytes()))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except NotUtf8 as error:
        raise UserError(f"{path}, line {error.line}: the file is {error}") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}.") from None


def unused_path(path: Path) -> Path:
    """`path`, or `path` with the first free number (`run_2`, `table_2.csv`): nothing is overwritten."""
    candidate, number = path, 2
    while candidate.exists():
        # A folder's name may hold a dot (`lr0.1`) which begins no suffix.
        numbered = f"{path.name}_{number}" if path.is_dir() else f"{path.stem}_{number}{path.suffix}"
        candidate = path.with_name(numbered)
        number += 1
    return candidate


def sha256_file(path: Path) -> str:
    """The file's SHA-256, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_json(value: object) -> str:
    """The SHA-256 of a value's JSON form with sorted keys: equal values, equal hashes."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()
