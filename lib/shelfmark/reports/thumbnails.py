"""Small pictures that stand inside an HTML file."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from shelfmark.data.images import read_rgb
from shelfmark.data.sources import Picture, UnreadableImage

SIDE_PX = 128
_JPEG_QUALITY = 82


class Thumbnails:
    """Remembers what it has read: a picture that a page shows twice is decoded once."""

    def __init__(self, side_px: int = SIDE_PX) -> None:
        self.side_px = side_px
        self._made: dict[str, str | None] = {}

    def data_uri(self, picture: Picture) -> str | None:
        """The whole picture as a JPEG of at most side_px a side, as a data URI; None where it cannot be read."""
        identity = picture.source.identity(picture.row)
        if identity not in self._made:
            self._made[identity] = _data_uri(picture, self.side_px)
        return self._made[identity]


def _data_uri(picture: Picture, side_px: int) -> str | None:
    try:
        pixels = read_rgb(*picture)
    except UnreadableImage:
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(small_jpeg(pixels, side_px)).decode()}"


def small_jpeg(pixels: np.ndarray, side_px: int) -> bytes:
    """The whole picture, (H, W, 3) uint8 RGB, as a JPEG of at most side_px a side."""
    scale = min(1.0, side_px / max(pixels.shape[:2]))
    width, height = (max(1, round(side * scale)) for side in (pixels.shape[1], pixels.shape[0]))
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    return np.asarray(encoded).tobytes()
