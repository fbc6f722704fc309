"""One photograph of one SKU: set, neighbours, pack, obstacle, then the camera.

Everything is drawn from the generator it is given, so a picture depends on its seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shelfmark.shop.camera import photographed
from shelfmark.shop.catalogue import Sku
from shelfmark.shop.layers import over, placed, shadowed, softened, trimmed
from shelfmark.shop.obstacles import NUM_PRICES, TAG_COLORS, fingers, price_tag
from shelfmark.shop.packs import Pose, pack_of
from shelfmark.shop.stages import IMAGE_SIDE_PX, STAGES, Stage, stranger
from shelfmark.shop.surfaces import one_of


def photograph(rng: np.random.Generator, sku: Sku, strangers: Sequence[Sku], seed: int) -> np.ndarray:
    """(IMAGE_SIDE_PX, IMAGE_SIDE_PX, 3) uint8 RGB of a SKU. strangers: the SKUs that may stand beside it."""
    light = float(rng.uniform(-0.9, 0.9))
    stage = one_of(rng, STAGES)(rng, strangers, seed)
    pack = _main_pack(rng, sku, stage, light)
    picture = stage.picture
    for offset, sigma, strength in ((-9.0 * light, 5.0, 0.42), (-2.0 * light, 1.5, 0.38)):
        picture = shadowed(picture, pack, (offset, 1.5 + abs(offset) / 4), sigma, strength)
    picture = over(picture, pack)
    return photographed(rng, _obstructed(rng, picture, pack, strangers, light))


def _main_pack(rng: np.random.Generator, sku: Sku, stage: Stage, light: float) -> np.ndarray:
    """(side, side, 4): the pack in its place."""
    yaw = float(np.clip(rng.normal(0, 15), -38, 38))
    pitch = float(rng.uniform(0, 20)) if stage.base is not None else float(rng.normal(0, 7))
    posed = trimmed(pack_of(sku).posed(Pose(yaw, pitch, light)))
    scale = IMAGE_SIDE_PX * rng.uniform(0.60, 0.95) / max(posed.shape[:2])
    center = float(0.5 + np.clip(rng.normal(0, 0.10), -0.22, 0.22))
    if stage.base is not None:
        turn = float(rng.normal(0, 2.5))
        return placed(posed, scale, (0.5, 1.0), (center, stage.base), turn, IMAGE_SIDE_PX)
    turn = float(np.clip(rng.normal(0, 28), -80, 80))
    at = (center, float(0.5 + np.clip(rng.normal(0, 0.08), -0.18, 0.18)))
    return placed(posed, scale, (0.5, 0.5), at, turn, IMAGE_SIDE_PX)


def _obstructed(
    rng: np.random.Generator, picture: np.ndarray, pack: np.ndarray, strangers: Sequence[Sku], light: float
) -> np.ndarray:
    """The picture with something before the pack, in one case of three."""
    draw = rng.random()
    if draw < 0.12:
        layer = fingers(rng, pack)
    elif draw < 0.24:
        tag = price_tag(one_of(rng, TAG_COLORS), int(rng.integers(NUM_PRICES)))
        at = (rng.uniform(0.1, 0.9), rng.uniform(0.82, 0.98))
        layer = placed(tag, rng.uniform(0.5, 0.8), (0.5, 0.5), at, rng.normal(0, 5), IMAGE_SIDE_PX)
    elif draw < 0.33:
        neighbour = stranger(rng, strangers)
        scale = IMAGE_SIDE_PX * rng.uniform(0.7, 1.1) / max(neighbour.shape[:2])
        at = (0.5 + one_of(rng, (-1, 1)) * rng.uniform(0.46, 0.58), rng.uniform(1.0, 1.2))
        layer = softened(placed(neighbour, scale, (0.5, 1.0), at, rng.normal(0, 6), IMAGE_SIDE_PX), 1.6)
    else:
        return picture
    return over(shadowed(picture, layer, (-3 * light, 2), 2.5, 0.4), layer)
