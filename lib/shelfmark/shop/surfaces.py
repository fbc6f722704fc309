"""What packs stand or lie on, and what is behind them: textures, each drawn once from its number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

import cv2
import numpy as np

from shelfmark.core.rng import numpy_generator

T = TypeVar("T")

SURFACE_SIDE_PX = 224
VARIANTS = 6

WOOD = ("#b98552", "#8a5a33", "#d8b48a", "#5e4130")
STONE = ("#e9e6e1", "#c9c5c0", "#8d9196", "#3f4348")
CLOTH = ("#dfe3e8", "#b7c4cf", "#e7d8c9", "#9aa68f", "#c98b8b", "#46505c")
PAINT = ("#f0ece4", "#dbe4e6", "#e8dccb", "#c7d0c4", "#a9b4bd", "#f7d9b5")


def one_of(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options, each as likely."""
    return options[int(rng.integers(len(options)))]


def surface(rng: np.random.Generator, seed: int, kind: str) -> np.ndarray:
    """(SURFACE_SIDE_PX, SURFACE_SIDE_PX, 3) uint8: one of the shop's textures of a kind in SURFACES."""
    return _texture(seed, kind, int(rng.integers(VARIANTS)))


@lru_cache(maxsize=256)
def _texture(seed: int, kind: str, variant: int) -> np.ndarray:
    rng = numpy_generator(seed, f"shop.surface.{kind}", variant)
    return np.clip(SURFACES[kind](rng), 0, 255).astype(np.uint8)


def crop(rng: np.random.Generator, texture: np.ndarray, width: int, height: int) -> np.ndarray:
    """(height, width, 3): a random part of a texture at a random zoom, perhaps mirrored."""
    zoom = rng.uniform(0.55, 1.0)
    side = texture.shape[0]
    w, h = round(zoom * side * min(1.0, width / height)), round(zoom * side * min(1.0, height / width))
    x, y = int(rng.integers(0, side - w + 1)), int(rng.integers(0, side - h + 1))
    part = texture[y : y + h, x : x + w]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    return cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=cv2.INTER_LINEAR)


def _wood(rng: np.random.Generator) -> np.ndarray:
    """Planks with grain along them."""
    picture = _flat(rng, WOOD)
    edges = np.linspace(0, SURFACE_SIDE_PX, int(rng.integers(3, 7)) + 1).astype(int)
    for top, bottom in pairwise(edges):
        shape = (bottom - top, SURFACE_SIDE_PX)
        grain = _noise(rng, shape, 2, 90) * 26 + _noise(rng, shape, 7, 60) * 24 + rng.normal(0, 9)
        picture[top:bottom] += grain[..., None] * [1.0, 0.95, 0.85]
        picture[bottom - 2 : bottom] *= 0.66
    return picture


def _stone(rng: np.random.Generator) -> np.ndarray:
    """Clouds and veins of marble."""
    shape = (SURFACE_SIDE_PX, SURFACE_SIDE_PX)
    cloud = _noise(rng, shape, 60, 60) + 0.5 * _noise(rng, shape, 24, 24)
    veins = np.exp(-((cloud / 0.035) ** 2)) * (0.5 + _noise(rng, shape, 80, 80))
    speckle = _noise(rng, shape, 3, 3)
    return _flat(rng, STONE) + (cloud * 22 - veins * 34 + speckle * 7)[..., None]


def _cloth(rng: np.random.Generator) -> np.ndarray:
    """A weave, perhaps with checks, in soft folds."""
    shape = (SURFACE_SIDE_PX, SURFACE_SIDE_PX)
    rows, columns = np.indices(shape)
    picture = _flat(rng, CLOTH) + (4 * np.sin(rows * 2.1) * np.sin(columns * 2.1))[..., None]
    if rng.random() < 0.5:
        pitch = int(rng.integers(18, 40))
        checks = (rows % pitch < pitch // 2).astype(float) + (columns % pitch < pitch // 2)
        picture -= (checks * rng.uniform(8, 26))[..., None] * rng.uniform(0.4, 1.0, 3)
    return picture + (_noise(rng, shape, 90, 40) * 30)[..., None]


def _tiles(rng: np.random.Generator) -> np.ndarray:
    """Glazed tiles with joints."""
    pitch = int(rng.integers(28, 64))
    rows, columns = np.indices((SURFACE_SIDE_PX, SURFACE_SIDE_PX))
    count = SURFACE_SIDE_PX // pitch + 1
    tone = rng.normal(0, 7, (count, count))[rows // pitch, columns // pitch]
    picture = _flat(rng, PAINT) + (tone + _noise(rng, rows.shape, 50, 50) * 12)[..., None]
    joint = (rows % pitch < 3) | (columns % pitch < 3)
    picture[joint] = picture[joint] * 0.45 + rng.uniform(40, 110)
    return picture


def _paint(rng: np.random.Generator) -> np.ndarray:
    """A plain wall or a sheet of paper, unevenly lit."""
    shape = (SURFACE_SIDE_PX, SURFACE_SIDE_PX)
    return _flat(rng, PAINT) + (_noise(rng, shape, 120, 120) * 36 + _noise(rng, shape, 2, 2) * 3)[..., None]


def _lights(rng: np.random.Generator) -> np.ndarray:
    """A shop far behind, out of focus: discs of light and colour."""
    picture = np.full((SURFACE_SIDE_PX, SURFACE_SIDE_PX, 3), rng.uniform(35, 110, 3), np.float32)
    for _ in range(90):
        center = tuple(int(value) for value in rng.integers(0, SURFACE_SIDE_PX, 2))
        color = tuple(float(value) for value in rng.uniform(40, 255, 3))
        cv2.circle(picture, center, int(rng.integers(5, 24)), color, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(picture, (0, 0), 6)


def _steel(rng: np.random.Generator) -> np.ndarray:
    """Brushed metal, or the dark belt of a checkout."""
    shape = (SURFACE_SIDE_PX, SURFACE_SIDE_PX)
    base = np.full((*shape, 3), one_of(rng, (52.0, 150.0, 186.0))) + rng.normal(0, 5, 3)
    return base + (_noise(rng, shape, 1, 70) * 16 + _noise(rng, shape, 110, 110) * 40)[..., None]


SURFACES: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "wood": _wood, "stone": _stone, "cloth": _cloth, "tiles": _tiles, "paint": _paint, "lights": _lights,
    "steel": _steel,
}  # fmt: skip


def _flat(rng: np.random.Generator, colors: tuple[str, ...]) -> np.ndarray:
    """One of the colours, a little off."""
    name = one_of(rng, colors)
    color = np.array([int(name[place : place + 2], 16) for place in (1, 3, 5)], np.float64) + rng.normal(0, 7, 3)
    return np.tile(color, (SURFACE_SIDE_PX, SURFACE_SIDE_PX, 1))


def _noise(rng: np.random.Generator, shape: tuple[int, int], tall: int, wide: int) -> np.ndarray:
    """Smooth noise about -0.5 to 0.5, whose bumps are about `tall` by `wide` pixels."""
    size = (max(2, shape[0] // tall + 2), max(2, shape[1] // wide + 2))
    small = rng.random(size, dtype=np.float32) - np.float32(0.5)
    return cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
