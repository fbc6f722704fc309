"""Where two siblings of the shop's families differ in a picture: the generator knows, and draws nothing otherwise.

Legend: H x W pixels.
"""

from __future__ import annotations

import numpy as np

from shelfmark.core.rng import numpy_generator
from shelfmark.shop.catalogue import Sku, catalogue
from shelfmark.shop.scene import photograph
from shelfmark.shop.splits import split_labels

_DIFFERS = 16
"""Of 255, in the colour channel that differs most. Below it lies what scaling and rounding make of equal pixels."""


def siblings(seed: int) -> dict[int, list[int]]:
    """label -> the other trained labels of its family."""
    sold = catalogue(seed).trained
    families: dict[int, list[int]] = {}
    for label, sku in enumerate(sold):
        families.setdefault(sku.family.number, []).append(label)
    return {label: [one for one in families[sku.family.number] if one != label] for label, sku in enumerate(sold)}


def differing_pixels(seed: int, split: str, index: int, other: int) -> np.ndarray:
    """(H, W) bool: where the picture would change if its pack were that of the label `other`, of the same family.

    Scene, pose, light, obstacle, lens and noise are drawn from the same numbers, so the pack's print alone differs.
    """
    sold = catalogue(seed).trained
    own = sold[split_labels(seed, split)[index]]
    if own.family != sold[other].family:
        raise ValueError(f"{own.name} and {sold[other].name} are of two families")
    pictures = [_drawn(seed, split, index, sku).astype(np.int16) for sku in (own, sold[other])]
    return np.abs(pictures[0] - pictures[1]).max(axis=2) >= _DIFFERS


def _drawn(seed: int, split: str, index: int, sku: Sku) -> np.ndarray:
    """The picture of a number as its file shows it before it is compressed, with another SKU in the pack's place."""
    strangers = tuple(one for one in catalogue(seed).trained if one.family.number != sku.family.number)
    return photograph(numpy_generator(seed, f"shop.{split}", index), sku, strangers, seed)
