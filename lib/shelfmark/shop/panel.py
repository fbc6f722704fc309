"""A drawing surface: shapes, lettering and small pictures, smooth at the edges.

Coordinates are pixels of the finished panel, as floats; a box is (left, top, right, bottom).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFont

Box = tuple[float, float, float, float]
Point = tuple[float, float]

SUPERSAMPLING = 2
LETTER_HEIGHT_PX = 72


class Panel:
    """An RGB picture, drawn larger and reduced at the end, because Pillow's shapes have hard edges."""

    def __init__(self, width_px: int, height_px: int, fill: str) -> None:
        self.width, self.height = float(width_px), float(height_px)
        self._image = Image.new("RGB", (width_px * SUPERSAMPLING, height_px * SUPERSAMPLING), fill)
        self._draw = ImageDraw.Draw(self._image)

    def rectangle(self, box: Box, fill: str, radius: float = 0.0, line: str | None = None, width: float = 0.0) -> None:
        self._draw.rounded_rectangle(_scaled(box), radius * SUPERSAMPLING, fill, line, round(width * SUPERSAMPLING))

    def ellipse(self, box: Box, fill: str, line: str | None = None, width: float = 0.0) -> None:
        self._draw.ellipse(_scaled(box), fill, line, round(width * SUPERSAMPLING))

    def disc(self, center: Point, radius: float, fill: str) -> None:
        x, y = center
        self.ellipse((x - radius, y - radius, x + radius, y + radius), fill)

    def polygon(self, points: Iterable[Point], fill: str) -> None:
        self._draw.polygon([(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points], fill)

    def line(self, points: Iterable[Point], fill: str, width: float) -> None:
        scaled = [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points]
        self._draw.line(scaled, fill, max(1, round(width * SUPERSAMPLING)), joint="curve")

    def text(self, box: Box, text: str, fill: str, weight: int = 1, slant: float = 0.0, stretch: float = 1.25) -> None:
        """Lettering as large as the box allows, centred; up to `stretch` times taller or wider than drawn."""
        left, top, right, bottom = _scaled(box)
        letters = _letters(text, weight, slant)
        scale = min((right - left) / letters.width, (bottom - top) / letters.height)
        wide = min((right - left) / letters.width, scale * stretch)
        tall = min((bottom - top) / letters.height, scale * stretch)
        size = max(1, round(letters.width * wide)), max(1, round(letters.height * tall))
        at = round((left + right - size[0]) / 2), round((top + bottom - size[1]) / 2)
        self._image.paste(fill, at, letters.resize(size, Image.Resampling.LANCZOS))

    def fade(self, box: Box, fill: str, strength: float) -> None:
        """Lays a colour over a box, from nothing at its top to `strength` (0 to 1) at its bottom."""
        left, top, right, bottom = (round(value) for value in _scaled(box))
        ramp = Image.linear_gradient("L").resize((max(1, right - left), max(1, bottom - top)))
        self._image.paste(fill, (left, top), ramp.point(lambda value: int(value * strength)))

    def pixels(self) -> np.ndarray:
        """(height, width, 3) uint8 RGB."""
        return np.asarray(self._image.reduce(SUPERSAMPLING))


def mixed(color: str, other: str, part: float) -> str:
    """`color` with `part` (0 to 1) of `other` in it."""
    pairs = zip(ImageColor.getrgb(color), ImageColor.getrgb(other))
    return "#" + "".join(f"{round(one + (two - one) * part):02x}" for one, two in pairs)


def readable_on(color: str, dark: str, light: str = "#ffffff") -> str:
    """The one of two inks that stands out on `color`."""

    def lightness(name: str) -> float:
        red, green, blue = ImageColor.getrgb(name)[:3]
        return 0.30 * red + 0.59 * green + 0.11 * blue

    return max((dark, light), key=lambda ink: abs(lightness(ink) - lightness(color)))


def around(center: Point, radius: float, angles_deg: Iterable[float]) -> list[Point]:
    """Points on a circle; 0 degrees is up, and angles run clockwise."""
    x, y = center
    return [(x + radius * math.sin(math.radians(a)), y - radius * math.cos(math.radians(a))) for a in angles_deg]


def _scaled(box: Box) -> Box:
    left, top, right, bottom = (value * SUPERSAMPLING for value in box)
    return left, top, right, bottom


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    # Pillow's own font: the same letters on every machine, whatever is installed there.
    return ImageFont.load_default(LETTER_HEIGHT_PX)


@lru_cache(maxsize=1024)
def _letters(text: str, weight: int, slant: float) -> Image.Image:
    """The text as a mask, cut to its ink. Bold is a stroke around the letters, italic a shear."""
    left, top, right, bottom = _font().getbbox(text, stroke_width=weight)
    size = round(right - left), round(bottom - top)
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).text((-left, -top), text, 255, _font(), stroke_width=weight)
    if slant:
        lean = round(slant * size[1])
        matrix = (1.0, slant, -lean, 0.0, 1.0, 0.0)
        mask = mask.transform((size[0] + lean, size[1]), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    return mask.crop(ImageChops.offset(mask, 0).getbbox() or (0, 0, 1, 1))
