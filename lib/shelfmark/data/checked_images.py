"""The images that were found readable, remembered by path, size and time of change. Legend: N images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.files import atomic_path
from shelfmark.data.file_threads import looked_at

_KEY = np.dtype("V16")
_FOLDER = ".checked_images"


class CheckedImages:
    """file: holds the keys of images, sorted. Where it cannot be read or written, nothing is remembered, and no more.

    An image is asked for again once its file changed, so what is remembered is never wrong for long.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._keys = np.empty(0, _KEY)
        with suppress(OSError, ValueError, EOFError):
            found = np.load(file, allow_pickle=False)
            if found.dtype == _KEY and found.ndim == 1:
                self._keys = found

    @classmethod
    def of(cls, folder: Path, root: Path) -> CheckedImages:
        """Those under `root`. folder: where runs are written."""
        name = hashlib.sha256(os.fsencode(os.path.abspath(root))).hexdigest()[:16]
        return cls(Path(folder) / _FOLDER / f"{name}.npy")

    def __len__(self) -> int:
        return len(self._keys)

    def has(self, keys: np.ndarray) -> np.ndarray:
        """(N,) bool. keys: (N,) of `image_keys`."""
        return np.isin(_sortable(keys), _sortable(self._keys))

    def add(self, keys: np.ndarray) -> None:
        """Remembers more images, and those of before."""
        together = np.unique(_sortable(np.concatenate([self._keys, keys])))
        if len(together) == len(self._keys):
            return
        self._keys = together.view(_KEY)
        with suppress(OSError, UserError), atomic_path(self.file) as beside, open(beside, "wb") as stream:
            np.save(stream, self._keys)


def image_keys(paths: Sequence[str], limits: Iterable[int]) -> np.ndarray:
    """(N,) keys, different for another path, size or time of change; of a file that is not there, for every call.

    paths: absolute. limits: on bytes and pixels, under which an image is readable.
    """
    salt = repr(tuple(limits)).encode()
    found = looked_at(lambda part: [_key(path, salt) for path in part], paths)
    return np.frombuffer(b"".join(found), _KEY)


def copied_keys(paths: Sequence[str], digest: str, limits: Iterable[int]) -> np.ndarray:
    """As `image_keys`, of images that are read in a packed copy with this digest; no file is asked for."""
    salt = repr((digest, *limits)).encode()
    found = (hashlib.blake2b(os.fsencode(path) + b"\0" + salt, digest_size=_KEY.itemsize).digest() for path in paths)
    return np.frombuffer(b"".join(found), _KEY)


def keys_with_boxes(keys: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(N,) keys of images in which the boxes (N, 4) were looked for; a key is as before where a box is NaN."""
    found = keys.copy()
    for row in np.flatnonzero(~np.isnan(boxes[:, 0])).tolist():
        digest = hashlib.blake2b(keys[row].tobytes() + boxes[row].tobytes(), digest_size=_KEY.itemsize).digest()
        found[row] = np.frombuffer(digest, _KEY)[0]
    return found


def _key(path: str, salt: bytes) -> bytes:
    try:
        told = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return os.urandom(_KEY.itemsize)
    fact = b"%s\0%d\0%d\0" % (os.fsencode(path), told.st_size, told.st_mtime_ns)
    return hashlib.blake2b(fact + salt, digest_size=_KEY.itemsize).digest()


def _sortable(keys: np.ndarray) -> np.ndarray:
    """The same bytes as complex numbers would lose their order in NaN; as pairs of integers they sort."""
    return np.ascontiguousarray(keys).view([("high", np.uint64), ("low", np.uint64)])
