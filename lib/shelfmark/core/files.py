"""Files that are whole or absent: written beside, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.errors import UserError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` to write to; renames it to `path` at the end, or removes it on an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        with open(beside, "rb") as written:
            os.fsync(written.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


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
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}.") from None


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder beside `path`; on success it takes `path`'s place, on an error it is removed.

    A kill between the two renames leaves the former folder as `<name>.old`; `recover_folder` puts it back.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        old = path.with_name(f"{path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            os.replace(path, old)
        os.replace(beside, path)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def recover_folder(path: Path) -> Path:
    """`path`, put back from `<name>.old` where a kill came between the two renames of `atomic_folder`."""
    old = path.with_name(f"{path.name}.old")
    if not path.exists() and old.is_dir():
        os.replace(old, path)
    return path


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
