"""Pictures that a caller gives: paths of files, bytes in memory, as of an upload, and pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from shelfmark.data.boxes import Crop
from shelfmark.data.identity import identities
from shelfmark.data.limits import MAX_BYTES
from shelfmark.data.sources.files import read_file
from shelfmark.data.sources.source import UnreadableImage, require_bytes


@dataclass(frozen=True)
class GivenSource:
    """names: what messages call the pictures. pictures: paths, bytes of files, or pixels, (H, W, 3) uint8 of RGB.

    max_bytes: a larger file is refused. TypeError for a picture of another type, as a path that is text.
    """

    names: Sequence[str]
    pictures: Sequence[Path | bytes | np.ndarray]
    max_bytes: int = MAX_BYTES

    def __post_init__(self) -> None:
        if len(self.names) != len(self.pictures):
            raise ValueError(f"{len(self.names)} names for {len(self.pictures)} images")
        for picture in self.pictures:
            if not isinstance(picture, Path | bytes | bytearray | np.ndarray):
                raise TypeError(f"a picture is a Path or bytes, not {type(picture).__name__}: {picture!r:.80}")

    def __len__(self) -> int:
        return len(self.pictures)

    def read(self, row: int) -> bytes:
        picture = self.pictures[row]
        if isinstance(picture, Path):
            return read_file(picture, self.max_bytes)
        if isinstance(picture, np.ndarray):
            return _as_file(picture, self.names[row])
        if len(picture) > self.max_bytes:
            raise UnreadableImage(self.names[row], "more bytes than data.max_image_bytes")
        return require_bytes(picture, self.names[row])

    def name(self, row: int) -> str:
        return self.names[row]

    def crop(self, row: int) -> Crop | None:
        return None

    def identity(self, row: int) -> str:
        picture = self.pictures[row]
        if isinstance(picture, Path):
            return next(identities([str(picture)], Path()))
        # Two uploads may have one name.
        return hashlib.sha256(self.read(row) if isinstance(picture, np.ndarray) else picture).hexdigest()


def _as_file(pixels: np.ndarray, name: str) -> bytes:
    """The pixels as a file of a format that keeps each, and costs a copy."""
    if 0 in pixels.shape:
        raise UnreadableImage(name, "no pixels")
    return cv2.imencode(".bmp", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()
