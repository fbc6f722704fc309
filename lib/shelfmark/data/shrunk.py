"""A picture made smaller, as the bytes of a JPEG."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from shelfmark.data.images import Picture, Window, picture_of
from shelfmark.data.jpeg_quality import jpeg_quality
from shelfmark.data.sources import UnreadableImage

_DECODED_AT_LEAST = 2
"""As many times the wanted size is decoded at least, so that the resize, and not the decoder, decides the pixels."""
_LONGEST_SIDE_PX = 65_500
"""Of a JPEG."""


class ShrunkPicture(NamedTuple):
    """data: of a JPEG; empty where the picture could not be read, and then `reason` says why. full, size: width and
    height of the upright original, and of the JPEG."""

    data: bytes
    full: tuple[int, int] = (0, 0)
    size: tuple[int, int] = (0, 0)
    reason: str = ""


def shrunk_picture(
    data: bytes, name: str, size_px: int, quality: int, max_pixels: int, smallest_box_px: float = np.inf
) -> ShrunkPicture:
    """The picture, upright, with its shorter side at `size_px` where it is longer, by an antialiased resize.

    smallest_box_px: the shorter side of the smallest box in the picture. The picture stays so large that this side is
    `size_px` too, or as it was. A JPEG that is not made smaller, and is upright, keeps its bytes. quality: of JPEG, 1
    to 100; at most that of an original which is one. Raises UnreadableImage.
    """
    picture = picture_of(data, name, max_pixels)
    found = picture.width, picture.height
    size = shrunk_size(picture.full_size, size_px, smallest_box_px)
    size = min(size[0], found[0]), min(size[1], found[1])
    if max(size) > _LONGEST_SIDE_PX:
        raise UnreadableImage(name, f"a side of more than {_LONGEST_SIDE_PX:,} pixels")
    pixels = _whole(picture, size)
    if size == picture.full_size and picture.is_upright_jpeg:
        return ShrunkPicture(data, picture.full_size, size)
    image = Image.fromarray(pixels)
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    # What the original's own quality left out would only take room.
    quality = min(quality, jpeg_quality(data) or quality)
    image.save(stream, "JPEG", quality=quality, subsampling="4:2:0", optimize=True)
    return ShrunkPicture(stream.getvalue(), picture.full_size, size)


def shrunk_size(full: tuple[int, int], size_px: int, smallest_box_px: float = np.inf) -> tuple[int, int]:
    """Width and height that a picture of width and height `full` is packed with; see `shrunk_picture`."""
    # A side that is this long becomes size_px long.
    side = min(*full, smallest_box_px)
    if side <= size_px:
        return full
    width, height = (min(length, int(np.ceil(length * size_px / side - 1e-9))) for length in full)
    return width, height


def _whole(picture: Picture, size: tuple[int, int]) -> np.ndarray:
    least = tuple(_DECODED_AT_LEAST * length for length in reversed(size))
    whole = Window(0, 0, picture.height, picture.width)
    return picture.window(whole, (least[0], least[1]))
