"""The colours of each format and depth, known by hand; and JPEGs that would cost minutes or the memory."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from shelfmark.data import images
from shelfmark.data.images import decode_rgb
from shelfmark.data.jpeg_limits import MAX_SCANS, reason_against
from shelfmark.data.sources import UnreadableImage

QUARTERS = np.array([[[255, 0, 0], [0, 160, 0]], [[0, 0, 255], [90, 120, 200]]], dtype=np.uint8)
SIDE = 32
RGB = QUARTERS.repeat(SIDE, axis=0).repeat(SIDE, axis=1)


def saved(picture: np.ndarray | Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(stream, form, **options)
    return stream.getvalue()


def png(rows: np.ndarray, depth: int, colour: int) -> bytes:
    """A PNG written by hand, of big-endian samples (H, W) or (H, W, channels)."""
    height, width = rows.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in rows))
    chunks = ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    packed = (struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def cmyk() -> Image.Image:
    """Inks by the plain rule, no black: cyan is what red lacks."""
    return Image.merge("CMYK", [*Image.fromarray(255 - RGB).split(), Image.new("L", (2 * SIDE, 2 * SIDE), 0)])


def frames(form: str, **options: object) -> bytes:
    """The picture, and behind it others that have all colours reversed."""
    return saved(RGB, form, save_all=True, append_images=[Image.fromarray(255 - RGB)] * 2, **options)


OPAQUE = np.full((2 * SIDE, 2 * SIDE), 0xFFFF, np.uint16)
ANIMATED = (
    ("WEBP", 0, {"lossless": True}),
    ("GIF", 0, {}),
    ("PNG", 0, {}),
    ("TIFF", 0, {}),
    ("AVIF", 4, {"quality": 100, "subsampling": "4:4:4"}),
    ("MPO", 4, {"quality": 95, "subsampling": 0}),
)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
FORMATS = {
    "JPEG": (saved(RGB, "JPEG", quality=95, subsampling=0), 4),
    "progressive JPEG": (saved(RGB, "JPEG", quality=95, subsampling=0, progressive=True), 4),
    "CMYK JPEG": (saved(cmyk(), "JPEG", quality=95), 4),
    "CMYK JPEG with a profile": (saved(cmyk(), "JPEG", quality=95, icc_profile=SRGB), 4),
    "CMYK TIFF": (saved(cmyk(), "TIFF"), 0),
    "PNG": (saved(RGB, "PNG"), 0),
    "PNG of 16 bits": (png(RGB.astype(np.uint16) * 256 + 255, 16, 2), 0),
    "palette PNG": (saved(Image.fromarray(RGB).convert("P", palette=Image.Palette.ADAPTIVE), "PNG"), 0),
    "WebP": (saved(RGB, "WEBP", quality=100), 8),
    "lossless WebP": (saved(RGB, "WEBP", lossless=True), 0),
    "AVIF": (saved(RGB, "AVIF", quality=100, subsampling="4:4:4"), 4),
    "BMP": (saved(RGB, "BMP"), 0),
    "GIF": (saved(Image.fromarray(RGB).convert("P", palette=Image.Palette.ADAPTIVE), "GIF"), 0),
    "TIFF with LZW": (saved(RGB, "TIFF", compression="tiff_lzw"), 0),
    "TIFF of JPEG blocks": (saved(RGB, "TIFF", compression="jpeg"), 8),
    "TIFF of 16 bits": (cv2.imencode(".tiff", RGB[..., ::-1].astype(np.uint16) * 256 + 255)[1].tobytes(), 0),
    "PNG of 16 bits with alpha": (png(np.dstack([RGB.astype(np.uint16) * 256, OPAQUE]), 16, 6), 0),
    "Lab TIFF": (saved(Image.fromarray(RGB).convert("LAB"), "TIFF"), 24),
    **{f"{form} of two frames": (frames(form, **options), limit) for form, limit, options in ANIMATED},
}


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_has_the_colours_that_were_painted(name: str) -> None:
    data, tolerance = FORMATS[name]
    pixels = decode_rgb(data, name)
    assert (pixels.shape, pixels.dtype) == (RGB.shape, np.uint8)
    centres = slice(SIDE // 2, None, SIDE)
    assert np.abs(pixels[centres, centres].astype(int) - QUARTERS).max() <= tolerance


@pytest.mark.parametrize("colours", ["RGB", "RGBA", "L", "LA", "1", "CMYK", "P", "I;16"])
def test_a_picture_that_is_made_rgb_in_strips_has_the_pixels_of_the_whole(
    colours: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shades = np.random.default_rng(0).integers(0, 256, (37, 50, 4), dtype=np.uint8)
    if colours == "I;16":
        data = saved(Image.fromarray(shades[..., 0].astype(np.uint16) * 257), "TIFF")
    elif colours in ("L", "LA", "1"):
        grey = Image.merge("LA", [Image.fromarray(shades[..., 0]), Image.fromarray(shades[..., 3])])
        data = saved(grey if colours == "LA" else grey.convert(colours), "TIFF")
    elif colours == "P":
        data = saved(Image.fromarray(shades[..., :3]).convert("P"), "PNG", transparency=bytes(range(256)))
    else:
        picture = Image.fromarray(shades) if colours == "RGBA" else Image.fromarray(shades[..., :3]).convert(colours)
        data = saved(picture, "TIFF")
    whole = decode_rgb(data, colours)
    assert len(np.unique(whole)) > 1
    for most in (1, 50 * 5, 50 * 36):
        monkeypatch.setattr(images, "_PIXELS_AT_A_TIME", most)
        np.testing.assert_array_equal(decode_rgb(data, colours), whole)


def test_a_small_file_of_many_pixels_takes_few_times_the_pixels_that_it_gives() -> None:
    data, size_mb = saved(Image.new("RGBA", (6000, 5000), 7), "PNG"), 6000 * 5000 * 3 / 1e6
    # In a process of its own, whose peak is of this picture.
    code = (
        "import sys, pathlib; from shelfmark.data.images import decode_rgb\n"
        "read = lambda: pathlib.Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]\n"
        "data = sys.stdin.buffer.read(); before = int(read()); decode_rgb(data, 'large'); print(int(read()) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
    assert int(done.stdout) / 1e3 < 3.5 * size_mb


GIF = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6) + b","


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (saved(RGB, "JPEG2000"), "JPEG 2000, which is not read; save it as JPEG or PNG"),
        (saved(RGB, "JPEG2000", no_jp2=True), "JPEG 2000, which is not read; save it as JPEG or PNG"),
        (saved(RGB, "JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"), "a rare kind"),
        (cv2.imencode(".tiff", RGB.astype(np.float32))[1].tobytes(), "a rare kind"),
        (saved(RGB, "BMP")[:18] + struct.pack("<ii", 60000, 60000) + saved(RGB, "BMP")[26:], "too many pixels"),
        (GIF + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\2\2\x4c\1\0;", "too many pixels"),
    ],
)
def test_what_is_not_read_is_refused_with_what_helps(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        decode_rgb(data, "odd")


def test_of_16_bits_the_upper_byte_counts() -> None:
    grey = np.array([[0, 255, 256, 0x7FFF], [0x8000, 0xFE80, 0xFF00, 0xFFFF]], dtype=np.uint16)
    for data in (png(grey, 16, 0), saved(Image.fromarray(grey), "TIFF")):
        pixels = decode_rgb(data, "grey")
        assert np.array_equal(pixels, np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2))
    colour = np.array([[[0x01FF, 0x7F00, 0xFFFF], [0, 0x8000, 0x00FF]]], dtype=np.uint16)
    assert decode_rgb(png(colour, 16, 2), "colour").tolist() == [[[1, 127, 255], [0, 128, 0]]]


def with_scans(number: int) -> bytes:
    """A progressive JPEG whose last scan stands `number` times more: each sends the same bits again."""
    whole = saved(RGB, "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * (number + 1) + b"\xff\xd9"


def test_a_progressive_file_of_thousands_of_scans_is_refused_at_once() -> None:
    own = saved(RGB, "JPEG", progressive=True).count(b"\xff\xda")
    assert reason_against(with_scans(0)) == reason_against(with_scans(MAX_SCANS - own)) == ""
    data = with_scans(20_000)
    started = time.process_time()
    with pytest.raises(UnreadableImage, match=f"more than {MAX_SCANS} scans"):
        decode_rgb(data, "many.jpg")
    assert time.process_time() - started < 0.5


def test_thumbnails_and_bytes_behind_the_picture_are_no_scans_of_it() -> None:
    plain = saved(RGB, "JPEG", progressive=True)
    thumbnail = b"\xff\xe1" + struct.pack(">H", 2 + 400) + b"\xff\xda" * 200
    assert reason_against(plain[:2] + thumbnail + plain[2:] + b"\xff\xda" * 200) == ""
    assert reason_against(saved(RGB, "JPEG")[:-2] + b"\xff\xda" * 200) == ""


def test_a_picture_of_more_pixels_than_its_bytes_can_say_is_truncated() -> None:
    data = bytearray(saved(np.full((16, 16, 3), 90, np.uint8), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 9000, 9000)
    with pytest.raises(UnreadableImage, match="truncated"):
        decode_rgb(bytes(data), "large.jpg")
    # The smallest files of one colour are far within what is allowed.
    for options in ({}, {"progressive": True}, {"subsampling": 2}):
        assert reason_against(saved(np.zeros((3000, 3000), np.uint8), "JPEG", quality=1, **options)) == ""


@pytest.mark.parametrize("length", range(2, 40, 3))
def test_damage_in_the_markers_is_left_to_the_decoder(length: int) -> None:
    whole = saved(RGB, "JPEG", progressive=True)
    assert reason_against(whole[:length]) == ""
    assert reason_against(whole[:length] + b"\xff" * 60) == ""
