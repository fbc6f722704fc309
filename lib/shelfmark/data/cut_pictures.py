"""Boxes as pictures of their own: what a program gets that knows no boxes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2

from shelfmark.data.boxes import Crop
from shelfmark.data.colour_profiles import ColourProfiles
from shelfmark.data.images import read_rgb
from shelfmark.data.limits import MAX_PIXELS
from shelfmark.data.sources import ImageSource


@dataclass(frozen=True, eq=False)
class CutPictures:
    """The pictures of a source, those of boxes cut out and written as PNG. max_pixels, profiles: as of
    `decode_rgb`."""

    source: ImageSource
    max_pixels: int = MAX_PIXELS
    profiles: ColourProfiles = "ignore"

    def __len__(self) -> int:
        return len(self.source)

    def read(self, row: int) -> bytes:
        if self.source.crop(row) is None:
            return self.source.read(row)
        pixels = read_rgb(self.source, row, self.max_pixels, self.profiles)
        return cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()

    def name(self, row: int) -> str:
        return self.source.name(row)

    def identity(self, row: int) -> str:
        return self.source.identity(row)

    def crop(self, row: int) -> Crop | None:
        return None
