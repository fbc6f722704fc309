"""Images as a Python program holds them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from shelfmark.core.errors import UserError
from shelfmark.data.colour_profiles import ColourProfiles
from shelfmark.data.images import pixels_of
from shelfmark.data.sources import GivenSource, UnreadableImage

_KINDS = "a path, the bytes of a file, a PIL image or a uint8 array (H, W, 3)"


def source_of(images: Iterable[Any], max_bytes: int, profiles: ColourProfiles = "ignore") -> GivenSource:
    """Several images as a source. A message calls one by its path, or by its place: `images[3]`.
    profiles: as of `data.images.decode_rgb`, for PIL images.

    UserError: what was given is one image in place of several, or something else than images.
    """
    if isinstance(images, str | Path | bytes | bytearray | Image.Image) or getattr(images, "ndim", 4) == 3:
        raise UserError("one image was given; several are expected: put it into a list, [image].")
    names, pictures = [], []
    for place, image in enumerate(images):
        path = Path(image) if isinstance(image, str | Path) else None
        names.append(f"images[{place}]" if path is None else str(path))
        pictures.append(_picture(image, names[-1], profiles) if path is None else path)
    return GivenSource(names, pictures, max_bytes)


def _picture(image: Any, name: str, profiles: ColourProfiles) -> bytes | np.ndarray:
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, Image.Image):
        try:
            return pixels_of(image, name, profiles)
        except UnreadableImage as error:
            raise UserError(f"{name} could not be read: {error.reason}.") from None
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        return image
    found = type(image).__name__
    if isinstance(image, np.ndarray) or hasattr(image, "shape"):
        found = f"{found} of {getattr(image, 'dtype', '?')}, {tuple(image.shape)}"
    raise UserError(f"{name} is {found}; an image is {_KINDS}.")
