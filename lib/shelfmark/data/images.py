"""Pictures from bytes, always as RGB. Nothing else in the package opens a picture."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import local
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ImageCms import ImageCmsTransform

from shelfmark.data import jpeg
from shelfmark.data.boxes import Crop
from shelfmark.data.colour_profiles import ColourProfiles, conversion_of, in_srgb
from shelfmark.data.image_kinds import CAMERA_RAW, HEAD_BYTES, NAMES_READ, is_camera_raw, kind_of
from shelfmark.data.jpeg_head import JpegHead, jpeg_head
from shelfmark.data.jpeg_limits import reason_against
from shelfmark.data.limits import MAX_PIXELS
from shelfmark.data.sources import ImageSource, UnreadableImage

_JPEGS = ("JPEG", "MPO")
_ORIENTATION_TAG = 0x0112
# A picture becomes RGB in strips of this many pixels, so that no copy on the way is larger than a strip.
_PIXELS_AT_A_TIME = 4_000_000
# Values of EXIF's orientation. What lies is turned first.
_LYING, _MIRRORED, _UPSIDE_DOWN = (5, 6, 7, 8), (2, 3, 6, 7), (3, 4, 7, 8)


# Pillow warns above half of PILLOW_MAX_PIXELS, beside our own error. A temporary filter would not be thread-safe.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# A damaged TIFF is an error of ours as well; what Pillow says of the head of a sound picture names no picture.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.(Image|Jpeg|Png|Tiff)")


def read_rgb(
    source: ImageSource, row: int, max_pixels: int = MAX_PIXELS, profiles: ColourProfiles = "ignore"
) -> np.ndarray:
    """The picture of a row, as `decode_rgb` makes it; of a row with a box, that part of it. Raises UnreadableImage."""
    crop = source.crop(row)
    if crop is None:
        return decode_rgb(source.read(row), source.name(row), max_pixels, profiles)
    return decode_crop(source.read(row), source.name(row), crop, max_pixels, profiles)


def decode_rgb(data: bytes, name: str, max_pixels: int = MAX_PIXELS, profiles: ColourProfiles = "ignore") -> np.ndarray:
    """The picture as (H, W, 3) uint8 RGB, the way up that its EXIF orientation says.

    The format is known by the first bytes. Grey, palette and CMYK become RGB, 16 bits become 8, transparent pixels are
    laid over white; of several frames or pages the first counts. Raises UnreadableImage, also for a JPEG that the
    decoder has warned of. name: for that error. profiles: `apply` makes colours that the picture's own profile
    describes those of sRGB; a picture without a profile has the same pixels either way.
    """
    return _decoded(data, name, max_pixels, profiles)[0]


def decode_crop(
    data: bytes, name: str, crop: Crop, max_pixels: int = MAX_PIXELS, profiles: ColourProfiles = "ignore"
) -> np.ndarray:
    """A part of the picture, as `decode_rgb` makes the whole. Raises UnreadableImage, also for a box outside of it.

    The last picture is kept decoded: the boxes of a photograph are mostly asked for one after the other.
    """
    last = getattr(_kept, "picture", None)
    if last is None or last[:3] != (max_pixels, profiles, data):
        last = _kept.picture = (max_pixels, profiles, data, *_decoded(data, name, max_pixels, profiles))
    *_, pixels, shrink = last
    height, width = pixels.shape[:2]
    try:
        return np.ascontiguousarray(pixels[crop.slices((width * shrink, height * shrink), (width, height))])
    except ValueError as error:
        raise UnreadableImage(name, str(error)) from None


_kept = local()


def _decoded(data: bytes, name: str, max_pixels: int, profiles: ColourProfiles) -> tuple[np.ndarray, int]:
    """The picture, and the number by which its sides were divided."""
    decoder = _decoder(data, name)
    with _told(name), Image.open(io.BytesIO(data), formats=(decoder,)) as image:
        shrink = _shrink(image, max_pixels)
        conversion = conversion_of(image, name) if profiles == "apply" else None
        pixels = _decode(image, data, shrink, conversion) if shrink else None
    if pixels is None:
        raise UnreadableImage(name, "more pixels than data.max_image_pixels")
    if 0 in pixels.shape:
        raise UnreadableImage(name, "no pixels")
    return pixels, shrink


class Window(NamedTuple):
    """A rectangle of an upright picture, in pixels."""

    top: int
    left: int
    height: int
    width: int


class Picture:
    """An upright picture of `height` x `width` pixels, of which windows are asked for. This one is decoded.

    shrink: the number by which its sides were divided. full_size: width and height before that. is_upright_jpeg:
    whether its bytes are a JPEG whose pixels are these, in this order, without a turn.
    """

    is_upright_jpeg = False

    def __init__(self, rgb: np.ndarray, shrink: int = 1) -> None:
        self._rgb = rgb
        self.height, self.width = rgb.shape[:2]
        self.full_size = (self.width * shrink, self.height * shrink)

    def window(self, window: Window, least: tuple[int, int]) -> np.ndarray:
        """The pixels (h, w, 3) uint8 of the window, perhaps at 1/2, 1/4 or 1/8 of its sides, but never smaller than
        `least`, (height, width), where the window is not smaller itself. Raises UnreadableImage."""
        return self._rgb[_slices(window, 1)]


def open_picture(
    source: ImageSource, row: int, max_pixels: int = MAX_PIXELS, profiles: ColourProfiles = "ignore"
) -> Picture:
    """The picture of a row, as `picture_of` gives it; of a row with a box, that part of it.

    Raises UnreadableImage, also for a box outside of the picture.
    """
    crop, name = source.crop(row), source.name(row)
    picture = picture_of(source.read(row), name, max_pixels, profiles)
    if crop is None:
        return picture
    try:
        rows, columns = crop.slices(picture.full_size, (picture.width, picture.height))
    except ValueError as error:
        raise UnreadableImage(name, str(error)) from None
    size = rows.stop - rows.start, columns.stop - columns.start
    return _Part(picture, Window(rows.start, columns.start, *size))


def picture_of(data: bytes, name: str, max_pixels: int = MAX_PIXELS, profiles: ColourProfiles = "ignore") -> Picture:
    """The picture that `decode_rgb` decodes whole; of a JPEG only the head is read now, and its pixels when a window
    is asked for. Rows below the window are then not decoded, so damage there is not found. A JPEG whose profile is
    applied is decoded whole. Raises UnreadableImage."""
    head = jpeg_head(data) if _decoder(data, name) in _JPEGS else None
    if head is None or head.height * head.width > max_pixels:
        return Picture(*_decoded(data, name, max_pixels, profiles))
    looks_at_profile = profiles == "apply" and head.has_profile
    if head.is_plain and not looks_at_profile:
        return _JpegPicture(data, name, max_pixels, head, 1)
    with _told(name), Image.open(io.BytesIO(data), formats=_JPEGS[:1]) as image:
        if image.mode in ("RGB", "L") and not (looks_at_profile and conversion_of(image, name)):
            return _JpegPicture(data, name, max_pixels, head, _orientation(image))
    return Picture(*_decoded(data, name, max_pixels, profiles))


class _Part(Picture):
    def __init__(self, picture: Picture, part: Window) -> None:
        self._picture, self._part = picture, part
        self.height, self.width = part.height, part.width

    def window(self, window: Window, least: tuple[int, int]) -> np.ndarray:
        top, left = self._part.top + window.top, self._part.left + window.left
        return self._picture.window(window._replace(top=top, left=left), least)


class _JpegPicture(Picture):
    """A window's edges are rounded to whole pixels of the picture at the size at which it is decoded."""

    def __init__(self, data: bytes, name: str, max_pixels: int, head: JpegHead, orientation: int) -> None:
        self._data, self._name, self._max_pixels = data, name, max_pixels
        self._head, self._orientation = head, orientation
        is_lying = orientation in _LYING
        self.height, self.width = (head.width, head.height) if is_lying else (head.height, head.width)
        self.full_size = (self.width, self.height)
        self.is_upright_jpeg = orientation == 1
        self._decoded: dict[int, np.ndarray] = {}

    def window(self, window: Window, least: tuple[int, int]) -> np.ndarray:
        fits = [by for by in jpeg.SHRINKS if window.height >= by * least[0] and window.width >= by * least[1]]
        shrink = max(fits, default=1)
        stored = _as_stored(window, self._orientation, self.height, self.width)
        rows, columns = _slices(stored, shrink)
        decoded = self._rows(rows.stop, shrink)
        if decoded is None:
            # Pillow knows every case, or why there are no pixels.
            whole = decode_rgb(self._data, self._name, self._max_pixels)
            return Picture(whole).window(window, least)
        pixels = decoded[rows, columns]
        return pixels if self._orientation == 1 else _upright(pixels, self._orientation)

    def _rows(self, number: int, shrink: int) -> np.ndarray | None:
        """At least `number` rows of the stored picture, whose sides are decoded to 1/shrink of their lengths."""
        known = self._decoded.get(shrink)
        if known is not None and len(known) >= number:
            return known
        with _told(self._name):
            # Of a window after the first all rows are decoded, for those to come.
            num_rows = number * shrink if known is None else None
            pixels = _jpeg_pixels(self._data, shrink, self._head, num_rows)
        if pixels is not None:
            self._decoded[shrink] = pixels
        return pixels


def _slices(window: Window, shrink: int) -> tuple[slice, slice]:
    """Of a picture at 1/shrink of its sides."""
    top, left, height, width = window
    edges = [(edge + shrink // 2) // shrink for edge in (top, top + height, left, left + width)]
    return slice(*edges[:2]), slice(*edges[2:])


def _as_stored(window: Window, orientation: int, height: int, width: int) -> Window:
    """Where a window of the upright picture, of that height and width, lies in the picture as it is stored."""
    top, left, tall, wide = window
    if orientation in _UPSIDE_DOWN:
        top = height - top - tall
    if orientation in _MIRRORED:
        left = width - left - wide
    return Window(left, top, wide, tall) if orientation in _LYING else Window(top, left, tall, wide)


def size_of(data: bytes, name: str) -> tuple[int, int]:
    """Width and height in pixels as the file's head says them, before a pixel is decoded. Raises UnreadableImage."""
    decoder = _decoder(data, name)
    with _told(name), Image.open(io.BytesIO(data), formats=(decoder,)) as image:
        return image.size


def upright_size(data: bytes, name: str) -> tuple[int, int]:
    """Width and height in pixels of what `decode_rgb` gives, where the head says them; else the picture is decoded.
    Raises UnreadableImage."""
    if _decoder(data, name) not in (*_JPEGS, "PNG", "WEBP"):
        height, width = decode_rgb(data, name).shape[:2]
        return width, height
    size = size_of(data, name)
    with Image.open(io.BytesIO(data)) as image:
        return size[::-1] if _orientation(image) in (5, 6, 7, 8) else size


def pixels_of(image: Image.Image, name: str, profiles: ColourProfiles = "ignore") -> np.ndarray:
    """An opened picture, as `decode_rgb` gives it. Raises UnreadableImage. name: for that error."""
    try:
        image.load()
        pixels = _rgb_pixels(image, conversion_of(image, name) if profiles == "apply" else None)
    except _NoRuleError as error:
        raise UnreadableImage(name, str(error)) from None
    except Exception as error:  # of a file that was cut off, when its pixels are wanted
        raise UnreadableImage(name, _reason(error)) from error
    return _upright(pixels, _orientation(image))


class _NoRuleError(ValueError):
    """The picture is sound, but its numbers have no brightness that is agreed upon."""


@contextmanager
def _told(name: str) -> Iterator[None]:
    """A block that opens or decodes a picture: what goes wrong there is an UnreadableImage with its reason."""
    try:
        yield
    except UnidentifiedImageError:
        raise UnreadableImage(name, "damaged, or of a rare kind; save it as JPEG or PNG") from None
    except _NoRuleError as error:
        raise UnreadableImage(name, str(error)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        raise UnreadableImage(name, "too many pixels") from None
    except Exception as error:
        # Decoders meet damaged bytes with errors of every type (OSError, SyntaxError, struct.error ...).
        raise UnreadableImage(name, _reason(error)) from error


def _decoder(data: bytes, name: str) -> str:
    """Pillow's name of the picture's format. A phone's .jpg of several pictures (MPO) counts as JPEG."""
    kind = kind_of(data[:HEAD_BYTES])
    if kind is None:
        raise UnreadableImage(name, f"not a {NAMES_READ} image")
    if kind.name == "TIFF" and is_camera_raw(lambda number, place: data[place : place + number]):
        kind = CAMERA_RAW
    if kind.why_not:
        raise UnreadableImage(name, kind.why_not)
    if kind.decoder == "HEIF":
        _register_heif()
    if kind.decoder == "JPEG" and (why := reason_against(data)):
        raise UnreadableImage(name, why)
    return kind.decoder


@cache
def _register_heif() -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:  # of the system, not of a decoder
        return f"the system says: {error.strerror}"
    return "truncated" if "truncated" in str(error).lower() else "damaged"


def _shrink(image: Image.Image, max_pixels: int) -> int:
    """The number by which the sides are divided so that the pixels fit: 1 to 8 for a JPEG, else 1; 0 if none fits."""
    width, height = image.size
    allowed = jpeg.SHRINKS if image.format in _JPEGS else (1,)
    return next((by for by in allowed if -(-width // by) * -(-height // by) <= max_pixels), 0)


def _decode(image: Image.Image, data: bytes, shrink: int, conversion: ImageCmsTransform | None) -> np.ndarray:
    if image.format in _JPEGS:
        # OpenCV decodes the common JPEG a third faster, to the same pixels. Pillow knows every case.
        pixels = _jpeg_pixels(data, shrink)
        if pixels is not None and image.mode in ("RGB", "L"):
            if conversion is not None:
                found = Image.fromarray(pixels if image.mode == "RGB" else pixels[..., 0])
                pixels = np.array(in_srgb(found, conversion))
            return _upright(pixels, _orientation(image))
        # A broken download often leaves a file of full length that ends in zeros, which decode as grey.
        image = Image.open(io.BytesIO(data.rstrip(b"\0")), formats=_JPEGS[:1])
        image.draft(None, (image.width // shrink, image.height // shrink))
    # Loaded before the orientation is read: reading it loads a PNG too, and there an error counts as no orientation.
    image.load()
    # A TIFF is upright already, and a HEIC: their decoders turn them, and take the orientation away.
    return _upright(_rgb_pixels(image, conversion), _orientation(image))


def _jpeg_pixels(
    data: bytes, shrink: int, head: JpegHead | None = None, num_rows: int | None = None
) -> np.ndarray | None:
    """`jpeg.decode`, but None only where Pillow is needed. ValueError: the data are damaged."""
    pixels, damaged = jpeg.decode(data, shrink, head, num_rows)
    if damaged:
        raise ValueError("the decoder warned of damage")
    return pixels


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The picture turned upright by its EXIF orientation. Orientation 1, and an invalid one, change nothing."""
    if orientation in _LYING:
        pixels = pixels.swapaxes(0, 1)
    if orientation in _MIRRORED:
        pixels = pixels[:, ::-1]
    if orientation in _UPSIDE_DOWN:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # Pillow's parser of damaged metadata raises anything; the picture itself may be sound.
        return 1


def _rgb_pixels(image: Image.Image, conversion: ImageCmsTransform | None) -> np.ndarray:
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        raise _NoRuleError("numbers of 32 bits in place of colours; save it with 8 or 16 bits")
    width, height = image.size
    num_rows = max(1, _PIXELS_AT_A_TIME // max(width, 1))
    if height <= num_rows:
        return np.array(_as_rgb(image, conversion))
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, num_rows):
        strip = image.crop((0, top, width, min(top + num_rows, height)))
        pixels[top : top + num_rows] = np.asarray(_as_rgb(strip, conversion))
    return pixels


def _as_rgb(image: Image.Image, conversion: ImageCmsTransform | None) -> Image.Image:
    if image.mode.startswith("I"):
        # The upper byte, which is also what Pillow keeps of 16-bit colour; its own conversion clips instead.
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if conversion is not None:
        image = in_srgb(image, conversion)
    if image.has_transparency_data:
        over = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
