"""What a file is, by its first bytes and never by its name: a picture that is read, one that is not, or no picture."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

HEAD_BYTES = 64
"""As many first bytes of a file as `kind_of` looks at."""
NAMES_READ = "JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF or HEIC"


class Kind(NamedTuple):
    """name: for people. decoder: Pillow's name of the format; empty for what no decoder here reads."""

    name: str
    decoder: str = ""

    @property
    def why_not(self) -> str:
        """Why such a file is not read, and what helps; empty where it is read."""
        if self.decoder in _MODULES and not _is_there(_MODULES[self.decoder]):
            return f"{self.name}, which {_NEEDS[self.decoder]}"
        return "" if self.decoder else f"{self.name}, which is not read; {_ADVICE.get(self.name, _CONVERT)}"


ReadAt = Callable[[int, int], bytes]
"""(number of bytes, place from the beginning) -> the bytes there, fewer at the end of the file."""

_HEIC = Kind("HEIC", "HEIF")
_AVIF = Kind("AVIF", "AVIF")
CAMERA_RAW = Kind("camera raw")
_TIFF = Kind("TIFF", "TIFF")
_JPEG_XL, _JPEG_2000, _VIDEO = Kind("JPEG XL"), Kind("JPEG 2000"), Kind("a video")

_MODULES = {"AVIF": "PIL._avif", "HEIF": "pillow_heif"}
_NEEDS = {
    "AVIF": "needs a Pillow that reads it: pip install --upgrade pillow",
    "HEIF": "needs the extra heic: pip install -e '.[heic]'",
}
_CONVERT = "save it as JPEG or PNG"
_ADVICE = {"a video": "save pictures of it as JPEG or PNG"}

_BEGINNINGS = (
    (b"\xff\xd8\xff", Kind("JPEG", "JPEG")),
    (b"\x89PNG\r\n\x1a\n", Kind("PNG", "PNG")),
    (b"GIF87a", Kind("GIF", "GIF")),
    (b"GIF89a", Kind("GIF", "GIF")),
    (b"II*\0", _TIFF),
    (b"MM\0*", _TIFF),
    (b"II+\0", _TIFF),
    (b"MM\0+", _TIFF),
    (b"IIRO", CAMERA_RAW),
    (b"IIRS", CAMERA_RAW),
    (b"IIU\0", CAMERA_RAW),
    (b"FUJIFILMCCD-RAW", CAMERA_RAW),
    (b"FOVb", CAMERA_RAW),
    (b"\xff\x0a", _JPEG_XL),
    (b"\0\0\0\x0cJXL \r\n\x87\n", _JPEG_XL),
    (b"\0\0\0\x0cjP  \r\n\x87\n", _JPEG_2000),
    (b"\xff\x4f\xff\x51", _JPEG_2000),
    (b"8BPS", Kind("a Photoshop file")),
    (b"%PDF-", Kind("a PDF")),
    (b"\x1aE\xdf\xa3", _VIDEO),
)
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF_BRANDS = {b"avif", b"avis"}
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}

_SUBFILE_TYPE, _DNG_VERSION = 254, 0xC612
_MAX_TAGS = 512


def kind_of(head: bytes) -> Kind | None:
    """The kind of a file that begins with `head`; None for what is no picture that anybody could mean.

    head: HEAD_BYTES of the file, fewer only where the file has no more.
    """
    for beginning, kind in _BEGINNINGS:
        if head.startswith(beginning):
            return CAMERA_RAW if kind is _TIFF and head[8:10] == b"CR" else kind
    if head[:4] == b"RIFF":
        return {b"WEBP": Kind("WebP", "WEBP"), b"AVI ": _VIDEO}.get(head[8:12])
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return Kind("BMP", "BMP")
    return _of_brands(head) if head[4:8] == b"ftyp" else None


def is_camera_raw(read_at: ReadAt) -> bool:
    """Whether a TIFF file is the raw file of a camera, as DNG, NEF or ARW, whose first picture is a small preview."""
    head = read_at(8, 0)
    order = "<" if head[:2] == b"II" else ">"
    if head[2:4] not in (b"*\0", b"\0*"):
        return False
    try:
        [place] = struct.unpack(f"{order}I", head[4:8])
        [num_tags] = struct.unpack(f"{order}H", read_at(2, place))
        tags = read_at(12 * min(num_tags, _MAX_TAGS), place + 2)
    except struct.error:
        return False
    for tag, _, _, value in struct.iter_unpack(f"{order}HHII", tags[: len(tags) // 12 * 12]):
        # The type of the first picture is a bit field; its lowest bit says: a smaller copy of another one.
        if tag == _DNG_VERSION or (tag == _SUBFILE_TYPE and value == 1):
            return True
    return False


@cache
def _is_there(module: str) -> bool:
    return find_spec(module) is not None


def _of_brands(head: bytes) -> Kind | None:
    """The kind of a file in the container that HEIC, AVIF and videos share: it names the formats that it keeps to."""
    size = min(int.from_bytes(head[:4], "big"), len(head))
    major, *others = [head[8:12], *(head[place : place + 4] for place in range(16, size - 3, 4))]
    if major == b"crx ":
        return CAMERA_RAW
    # A neutral major brand, as `mif1`, leaves it to the others.
    for brand in (major, *others):
        if brand in _AVIF_BRANDS or brand in _HEIC_BRANDS:
            return _AVIF if brand in _AVIF_BRANDS else _HEIC
    return _HEIC if major in (b"mif1", b"msf1") else _VIDEO
