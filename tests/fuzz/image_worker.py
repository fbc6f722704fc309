"""Decodes damaged images, as a worker of a loader does, and prints what came of it: run by test_image_mutants.py."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from colour_profiles import DISPLAY_P3, cmyk_profile, grey_profile, rgb_profile

from shelfmark.data.images import decode_rgb
from shelfmark.data.sources import UnreadableImage

INTERESTING = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\xff\xd8",
    b"\xff\xd9",
    b"\xff\xda",
    b"\xff\xc2",
)


def main() -> None:
    """argv: the number of images, and the seed, 0 if none."""
    number, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    draw, whole = random.Random(seed), list(originals())
    reasons: Counter[str] = Counter()
    decoded, slowest_s = 0, 0.0
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_mb("VmRSS")
    for _ in range(number):
        data = mutant(draw, draw.choice(whole))
        started = time.process_time()
        try:
            pixels = decode_rgb(data, "mutant", profiles="apply")
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
            assert pixels.shape[2] == 3
            assert pixels.size
            decoded += 1
        except UnreadableImage as error:
            reasons[error.reason] += 1
        slowest_s = max(slowest_s, time.process_time() - started)
    peak = resident_mb("VmHWM") - before
    print(json.dumps({"decoded": decoded, "reasons": reasons, "peak_mb": peak, "slowest_s": slowest_s}))


def originals() -> Iterator[bytes]:
    """A picture in each format, and in the forms that a format has."""
    grid = np.mgrid[0:60, 0:80].sum(axis=0)
    noise = np.random.default_rng(0).integers(0, 40, (60, 80, 3))
    rgb = Image.fromarray(((grid[..., None] * [1, 2, 3] + noise) % 256).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    forms = [
        ("JPEG", rgb, {}),
        ("JPEG", rgb, {"progressive": True, "exif": exif}),
        ("JPEG", rgb.convert("L"), {"optimize": True}),
        ("JPEG", rgb.convert("CMYK"), {}),
        ("JPEG", rgb.convert("CMYK"), {"icc_profile": cmyk_profile(np.full((2, 2, 2, 2, 3), 40))}),
        ("JPEG", rgb, {"icc_profile": rgb_profile(DISPLAY_P3, 2.2)}),
        ("PNG", rgb, {"icc_profile": rgb_profile(DISPLAY_P3, 2.2)}),
        ("TIFF", rgb.convert("L"), {"icc_profile": grey_profile(1.8)}),
        ("PNG", rgb, {"exif": exif}),
        ("PNG", rgb.convert("P"), {"transparency": 3}),
        ("PNG", Image.fromarray((grid * 300 % 65536).astype(np.uint16)), {}),
        ("PNG", rgb.convert("RGBA"), {}),
        ("WEBP", rgb, {"quality": 80}),
        ("WEBP", rgb.convert("RGBA"), {"lossless": True}),
        ("BMP", rgb, {}),
        ("BMP", rgb.convert("P"), {}),
        ("GIF", rgb.convert("P"), {"save_all": True, "append_images": [rgb.convert("P")]}),
        ("TIFF", rgb, {}),
        ("TIFF", rgb, {"compression": "tiff_lzw"}),
        ("TIFF", rgb, {"compression": "tiff_adobe_deflate"}),
        ("TIFF", Image.fromarray((grid * 300 % 65536).astype(np.uint16)), {}),
        ("AVIF", rgb, {"speed": 10}),
    ]
    for form, image, options in forms:
        stream = io.BytesIO()
        image.save(stream, form, **options)
        yield stream.getvalue()
    try:
        import pillow_heif
    except ImportError:
        return
    stream = io.BytesIO()
    pillow_heif.from_pillow(rgb).save(stream)
    yield stream.getvalue()


def mutant(draw: random.Random, data: bytes) -> bytes:
    """The image with one to four kinds of damage; most of them near its head, where sizes and counts stand."""
    found = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4))):
        place = draw.randrange(min(len(found), draw.choice((64, 600, 1 << 30))))
        kind = draw.randrange(7)
        if kind == 0:
            found[place] = draw.randrange(256)
        elif kind == 1:
            found[place] ^= 1 << draw.randrange(8)
        elif kind == 2:
            del found[max(place, 16) :]
        elif kind == 3:
            del found[place : place + draw.randrange(1, 40)]
        elif kind == 4:
            found[place:place] = found[place : place + draw.randrange(1, 400)] * draw.choice((1, 1, 3, 200))
        elif kind == 5:
            found[place : place + 4] = draw.choice(INTERESTING)
        else:
            found[place : place + 2] = struct.pack(draw.choice("<>") + "H", draw.choice((1, 9000, 32768, 65535)))
        found = found or bytearray(b"\0")
    return bytes(found)


def resident_mb(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field))) / 1e3


if __name__ == "__main__":
    # What decoders print about damage is no output of ours.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    main()
