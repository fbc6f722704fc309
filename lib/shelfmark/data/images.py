"""Pictures from files, always as RGB."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from shelfmark.core.errors import UserError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
"""What is read, by Pillow's names. A phone's .jpg of several pictures (MPO) counts as JPEG."""

_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation but 1, which is upright."""
_JPEG_END = b"\xff\xd9"


class UnreadableImage(UserError):  # noqa: N818
    """A picture could not be read. `reason` comes from a short list, so that failures can be counted by it."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(
            f"{path} could not be read: {reason}. Repair it or take it out of the annotations,"
            " or set data.on_bad_image=skip."
        )
        self.path = str(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[UnreadableImage], tuple[str, str]]:
        # An exception is otherwise rebuilt from its text alone when it comes back from a loader process.
        return type(self), (self.path, self.reason)


def read_rgb(path: Path) -> np.ndarray:
    """The picture as (H, W, 3) uint8 RGB, the way up that its EXIF orientation says.

    Grey, palette and CMYK become RGB, 16 bits become 8, transparent pixels are laid over white; colour
    profiles are not applied; of several frames the first counts. Raises UnreadableImage.
    """
    data = _read_bytes(path)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            pixels = _decode(image, data)
    except UnidentifiedImageError:
        raise UnreadableImage(path, "not a JPEG, PNG, WebP, BMP or GIF image") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        raise UnreadableImage(path, "too many pixels") from None
    except Exception as error:
        # Decoders meet damaged bytes with errors of every type (OSError, SyntaxError, struct.error ...).
        reason = "truncated" if "truncated" in str(error).lower() else "damaged"
        raise UnreadableImage(path, reason) from error
    if 0 in pixels.shape:
        raise UnreadableImage(path, "no pixels")
    return pixels


def _read_bytes(path: Path) -> bytes:
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise UnreadableImage(path, "missing") from None
    except PermissionError:
        raise UnreadableImage(path, "no permission") from None
    except IsADirectoryError:
        raise UnreadableImage(path, "a folder, not a file") from None
    except OSError as error:
        raise UnreadableImage(path, f"the system says: {error.strerror}") from None
    if not data:
        raise UnreadableImage(path, "empty file")
    return data


def _decode(image: Image.Image, data: bytes) -> np.ndarray:
    if _is_plain_jpeg(image, data):
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is not None:
            return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    if image.format == "JPEG":
        # A broken download often leaves a file of full length that ends in zeros, which decode as grey.
        image = Image.open(io.BytesIO(data.rstrip(b"\0")), formats=FORMATS)
    image.load()
    turn = _TURNS.get(_orientation(image))
    return np.array(_as_rgb(image if turn is None else image.transpose(turn)))


def _is_plain_jpeg(image: Image.Image, data: bytes) -> bool:
    # Pillow knows every case; OpenCV decodes the commonest a third faster, to the same pixels, but is
    # content with a picture whose data ends early: so only files that end as a JPEG must.
    return (
        image.format == "JPEG"
        and image.mode in ("RGB", "L")
        and data.endswith(_JPEG_END)
        and _orientation(image) not in _TURNS
    )


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # Pillow's parser of damaged metadata raises anything; the picture itself may be sound.
        return 1


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # The upper byte, which is also what Pillow keeps of 16-bit colour; its own conversion clips instead.
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    return image.convert("RGB")
