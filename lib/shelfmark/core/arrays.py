"""Named numpy arrays in an .npz file."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from shelfmark.core.errors import UserError

# The errors of numpy and zipfile for damaged files.
DAMAGED = (
    *(ValueError, OSError, EOFError, KeyError, TypeError, AttributeError, RuntimeError, MemoryError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)


def write_npz(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes the file in place; equal arrays give equal bytes."""
    with open(file, "wb") as stream:
        np.savez(stream, **dict(arrays))  # type: ignore[arg-type]


def read_npz(file: Path, names: Iterable[str] | None = None, remake: str = "") -> dict[str, np.ndarray]:
    """The arrays of these names, all by default; a UserError names a damaged file, and says how to `remake` it."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in (arrays.files if names is None else names)}
    except FileNotFoundError:
        raise
    except DAMAGED as error:
        raise UserError(f"{file} is damaged: {error}. {remake}".rstrip()) from None


def stored_boxes(arrays: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """The array `boxes`, (N, 4) float32; None where there is none. Raises a ValueError for another kind of array."""
    boxes = arrays.get("boxes")
    if boxes is not None and (boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype != np.float32):
        raise ValueError(f"boxes are float32 of (N, 4), not {boxes.dtype} of {boxes.shape}")
    return boxes


def whole_numbers(array: np.ndarray, least: int) -> np.ndarray:
    """The array (N,) as int64. Raises a ValueError unless it holds integers from `least` on."""
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"integers of (N,) were expected, not {array.dtype} of {array.shape}")
    if len(array) and int(array.min()) < least:
        raise ValueError(f"{int(array.min())} is below {least}")
    return array.astype(np.int64, copy=False)
