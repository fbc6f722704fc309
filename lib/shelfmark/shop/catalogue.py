"""Which SKUs the shop has, and how many pictures of each.

A family is one brand's line of one product in one livery; its members differ by the flavour and by the
few details (`cues`) in which that brand shows it. 24 families of five trained SKUs; the 40 novel SKUs
are a sixth member of each of these families and four members of four families never seen in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from shelfmark.core.rng import derive_seed, numpy_generator
from shelfmark.shop.assortment import BRANDS, PALETTES, PRODUCTS, Flavour, Palette, Product
from shelfmark.shop.shapes import SHAPES

NUM_CLASSES = 120
NUM_NOVEL = 40
NUM_FAMILIES = 24
MEMBERS_PER_FAMILY = 5
MEMBERS_PER_NOVEL_FAMILY = 4
HEAD_IMAGES = 150
TAIL_IMAGES = 4

LAYOUTS = ("band", "oval", "panel", "wave", "arch", "plain")
CUES = (
    ("icon",),
    ("stripes",),
    ("cap", "icon"),
    ("badge", "icon"),
    ("tint",),
    (),
    ("badge", "stripes"),
)


@dataclass(frozen=True)
class Family:
    """cues: in which details, beside the word, members differ. weight, upper, slant: the brand's lettering.
    seed: of what is random about the family's packs."""

    number: int
    seed: int
    brand: str
    product: Product
    palette: Palette
    layout: str
    cues: tuple[str, ...]
    weight: int
    upper: bool
    slant: float

    @property
    def name(self) -> str:
        return f"{self.brand} {self.product.name}"


@dataclass(frozen=True)
class Sku:
    """One article. `member` is its number in its family, from 0."""

    family: Family
    member: int

    @property
    def flavour(self) -> Flavour:
        return self.family.product.flavours[self.member]

    @property
    def name(self) -> str:
        return f"{self.family.name} {self.flavour.word}"


@dataclass(frozen=True)
class Catalogue:
    """trained: by category_id. novel: by the retrieval set's own category_id."""

    trained: tuple[Sku, ...]
    novel: tuple[Sku, ...]


@lru_cache(maxsize=4)
def catalogue(seed: int) -> Catalogue:
    """The shop's SKUs. Class numbers are shuffled: neighbours in number are strangers."""
    families = _families(seed)
    known, unknown = families[:NUM_FAMILIES], families[NUM_FAMILIES:]
    trained, novel = [], [Sku(family, member) for family in unknown for member in range(MEMBERS_PER_NOVEL_FAMILY)]
    for family in known:
        # Which flavour is held back differs from family to family.
        members = numpy_generator(seed, "shop.members", family.number).permutation(MEMBERS_PER_FAMILY + 1)
        trained += [Sku(family, int(member)) for member in members[:MEMBERS_PER_FAMILY]]
        novel.append(Sku(family, int(members[MEMBERS_PER_FAMILY])))
    return Catalogue(_shuffled(seed, "shop.classes", trained), _shuffled(seed, "shop.novel_classes", novel))


def class_counts(seed: int) -> np.ndarray:
    """(NUM_CLASSES,) training images of each class: exponential from HEAD_IMAGES down to TAIL_IMAGES.

    Class numbers are already shuffled, so being rare has nothing to do with the family.
    """
    rank = np.arange(NUM_CLASSES) / (NUM_CLASSES - 1)
    sizes = np.rint(HEAD_IMAGES * (TAIL_IMAGES / HEAD_IMAGES) ** rank).astype(np.int64)
    return sizes[numpy_generator(seed, "shop.class_sizes").permutation(NUM_CLASSES)]


def _families(seed: int) -> list[Family]:
    """Two brands for each product, in shuffled order, with shuffled liveries."""
    rng = numpy_generator(seed, "shop.families")
    products = rng.permutation(np.repeat(np.arange(len(PRODUCTS)), 2))
    brands, palettes = rng.permutation(len(BRANDS)), rng.permutation(len(PALETTES))
    return [
        Family(
            number=number,
            seed=derive_seed(seed, "shop.family", number),
            brand=BRANDS[brands[number]],
            product=PRODUCTS[product],
            palette=PALETTES[palettes[number]],
            layout=LAYOUTS[number % len(LAYOUTS)],
            cues=cues_of(PRODUCTS[product], number),
            weight=int(rng.integers(1, 4)),
            upper=bool(rng.random() < 0.5),
            slant=float(rng.choice([0.0, 0.0, 0.2])),
        )
        for number, product in enumerate(products)
    ]


def cues_of(product: Product, number: int) -> tuple[str, ...]:
    """The details in which the packs of a family differ; a pack without a cap cannot differ in the cap."""
    has_cap = SHAPES[product.shape].has_cap
    return tuple(cue for cue in CUES[number % len(CUES)] if cue != "cap" or has_cap)


def _shuffled(seed: int, role: str, skus: list[Sku]) -> tuple[Sku, ...]:
    return tuple(skus[row] for row in numpy_generator(seed, role).permutation(len(skus)))
