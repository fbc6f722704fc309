"""Where a pack is photographed: on a shop's shelf, on a table, on the floor, with other packs about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from shelfmark.shop.catalogue import Sku
from shelfmark.shop.layers import over, placed, shadowed, softened, trimmed
from shelfmark.shop.obstacles import NUM_PRICES, TAG_COLORS, price_tag
from shelfmark.shop.packs import Pose, pack_of
from shelfmark.shop.surfaces import crop, one_of, surface

IMAGE_SIDE_PX = 112
WALLS = ("paint", "lights", "tiles", "wood", "steel")
TABLES = ("wood", "stone", "cloth", "steel", "tiles")
FLOORS = ("wood", "stone", "cloth", "tiles", "paint", "steel")
RAILS = ((90, 90, 94), (20, 70, 130), (150, 24, 28))


@dataclass(frozen=True, eq=False)
class Stage:
    """picture: (side, side, 3), the set with its neighbours. base: where a pack stands, as a part of the
    height; None where it lies on its back and is seen from above."""

    picture: np.ndarray
    base: float | None


def stranger(rng: np.random.Generator, strangers: Sequence[Sku]) -> np.ndarray:
    """Some other pack, from one of three sides: RGBA, premultiplied."""
    return _standing_about(one_of(rng, strangers), int(rng.integers(3)))


@lru_cache(maxsize=512)
def _standing_about(sku: Sku, turn: int) -> np.ndarray:
    return trimmed(pack_of(sku).posed(Pose((turn - 1) * 22.0, 8.0, (turn - 1) * -0.5)))


def _shelf(rng: np.random.Generator, strangers: Sequence[Sku], seed: int) -> Stage:
    """A shelf in a shop: a dim back, neighbours on both sides, a rail with price labels below."""
    side = IMAGE_SIDE_PX
    base = float(rng.uniform(0.80, 0.93))
    picture = crop(rng, surface(rng, seed, "paint"), side, side)
    dim = np.linspace(rng.uniform(0.25, 0.5), rng.uniform(0.6, 0.85), side, dtype=np.float32)
    picture = (picture * dim[:, None, None]).astype(np.uint8)
    board = round(base * side) - int(rng.integers(3, 9))
    picture[board:] = crop(rng, surface(rng, seed, "steel"), side, side - board)
    rail = round(base * side) + int(rng.integers(2, 5))
    picture[rail:] = picture[rail:] * 0.55 + np.array(one_of(rng, RAILS)) * 0.45
    color = one_of(rng, TAG_COLORS)
    for x in np.arange(rng.uniform(0, 0.3), 1.1, rng.uniform(0.3, 0.5)):
        tag = price_tag(color, int(rng.integers(NUM_PRICES)))
        picture = over(picture, placed(tag, 0.36, (0.5, 0.0), (x, (rail + 2) / side), 0.0, side))
    for direction in (-1, 1):
        neighbour = stranger(rng, strangers)
        for place in range(2):
            x = 0.5 + direction * (rng.uniform(0.40, 0.5) + 0.34 * place)
            scale = side * rng.uniform(0.55, 0.8) / max(neighbour.shape[:2])
            layer = placed(neighbour, scale, (0.5, 1.0), (x, base - 0.015), 0.0, side)
            picture = over(shadowed(picture, layer, (0, 2), 3, 0.5), softened(layer, 0.9))
    return Stage(picture, base)


def _table(rng: np.random.Generator, strangers: Sequence[Sku], seed: int) -> Stage:
    """A table before a wall, perhaps with something else on it farther back."""
    side = IMAGE_SIDE_PX
    base, horizon = float(rng.uniform(0.82, 0.95)), round(side * rng.uniform(0.5, 0.74))
    wall = surface(rng, seed, one_of(rng, WALLS))
    picture = softened(crop(rng, wall, side, side), rng.uniform(0, 2.5))
    table = crop(rng, surface(rng, seed, one_of(rng, TABLES)), side, side - horizon)
    fall = np.linspace(rng.uniform(0.7, 1.0), 1.08, side - horizon, dtype=np.float32)
    picture[horizon:] = np.clip(table * fall[:, None, None], 0, 255)
    picture[horizon : horizon + 2] = picture[horizon : horizon + 2] // 2 + 20
    for _ in range(int(rng.integers(0, 3))):
        neighbour = stranger(rng, strangers)
        x = 0.5 + one_of(rng, (-1, 1)) * rng.uniform(0.28, 0.5)
        scale = side * rng.uniform(0.35, 0.6) / max(neighbour.shape[:2])
        layer = placed(neighbour, scale, (0.5, 1.0), (x, horizon / side + rng.uniform(0.03, 0.1)), 0.0, side)
        picture = over(shadowed(picture, layer, (0, 2), 3, 0.5), softened(layer, rng.uniform(0.6, 2.0)))
    return Stage(picture, base)


def _floor(rng: np.random.Generator, strangers: Sequence[Sku], seed: int) -> Stage:
    """A surface seen from above, perhaps with something else on it at the edge."""
    side = IMAGE_SIDE_PX
    texture = surface(rng, seed, one_of(rng, FLOORS))
    picture = np.rot90(crop(rng, texture, side, side), int(rng.integers(4))).copy()
    for _ in range(int(rng.integers(0, 3))):
        neighbour = stranger(rng, strangers)
        angle = rng.uniform(0, 2 * np.pi)
        at = (0.5 + 0.56 * np.cos(angle), 0.5 + 0.56 * np.sin(angle))
        scale = side * rng.uniform(0.45, 0.7) / max(neighbour.shape[:2])
        layer = placed(neighbour, scale, (0.5, 0.5), at, rng.uniform(-180, 180), side)
        picture = over(shadowed(picture, layer, (2, 2), 3, 0.45), layer)
    return Stage(picture, None)


STAGES: tuple[Callable[[np.random.Generator, Sequence[Sku], int], Stage], ...] = (_shelf, _table, _floor)
