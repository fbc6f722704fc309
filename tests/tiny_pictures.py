"""The bytes of the smallest pictures, one for each way to say what a file is."""

from __future__ import annotations

import io

from PIL import Image


def encoded(kind: str, colour: tuple[int, int, int] = (200, 30, 40), size: tuple[int, int] = (2, 2)) -> bytes:
    """A picture of one colour in a format of Pillow."""
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, kind)
    return stream.getvalue()


JPEG = encoded("JPEG")
