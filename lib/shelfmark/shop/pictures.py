"""The shop's pictures, one at a time, by set and number."""

from __future__ import annotations

from functools import lru_cache

from shelfmark.core.rng import numpy_generator
from shelfmark.shop.camera import jpeg
from shelfmark.shop.catalogue import Sku, catalogue
from shelfmark.shop.scene import photograph
from shelfmark.shop.splits import split_labels


def picture(seed: int, split: str, index: int) -> bytes:
    """The JPEG file of one picture. It depends on these three alone, whoever draws it and in which order."""
    sold = catalogue(seed)
    skus = sold.novel if split == "novel" else sold.trained
    sku = skus[split_labels(seed, split)[index]]
    rng = numpy_generator(seed, f"shop.{split}", index)
    return jpeg(rng, photograph(rng, sku, _strangers(seed, sku.family.number), seed))


@lru_cache(maxsize=64)
def _strangers(seed: int, family: int) -> tuple[Sku, ...]:
    """The SKUs that may stand beside a SKU: trained ones, as novel SKUs must not appear in training, and of other
    families, as it would be unclear which of two siblings the picture is of."""
    return tuple(sku for sku in catalogue(seed).trained if sku.family.number != family)
