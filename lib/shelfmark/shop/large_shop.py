"""A larger shop, drawn by the same generator: hundreds of SKUs in families, and whole families that are never trained.

Families are a brand's line of a product, as in the shop; here a brand sells several products. Of every six flavours
five are sold, so a family has five SKUs. Half as many families again are never trained: the products never seen.
Frozen as the shop is: figures were measured on these very pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.files import read_json, write_json
from shelfmark.core.folders import atomic_folder, folder_to_read
from shelfmark.core.rng import derive_seed, numpy_generator
from shelfmark.shop.assortment import BRANDS, PALETTES, PRODUCTS
from shelfmark.shop.camera import jpeg
from shelfmark.shop.catalogue import LAYOUTS, MEMBERS_PER_FAMILY, Catalogue, Family, Sku, cues_of
from shelfmark.shop.drawing import PICTURES_PER_TASK, drawn
from shelfmark.shop.scene import photograph

NAME = "shop-large-1"
"""Stands for this generator as it is. One that draws anything else needs another name."""
ANNOTATION_SHA256 = {
    "train.json": "e1f057ce8f7c8e8deef1d91c63c8dc0259d5fb35feddac38fc2cde1bec324009",
    "val.json": "234d441bbc053bda9c0d3cff868f1cab431a1f5e0f33681f446d648b8cf2a646",
    "retrieval.json": "88803e93e71fe9aa72936c029f41f8131dd0428fc49bc06c5c2a3ee5e0e35d1f",
}
"""The hash of each file's value with 400 SKUs and seed 0 (`sha256_json`)."""
SPLITS = ("train", "val", "novel")
HEAD_IMAGES, TAIL_IMAGES = 60, 4
VAL_PER_SKU, NOVEL_PER_SKU = 12, 6
_NUM_STRANGERS = 100


@dataclass(frozen=True)
class LargeShop:
    """Which shop: num_skus that are trained, a multiple of 5; seed: of everything that is drawn."""

    num_skus: int = 400
    seed: int = 0

    def __post_init__(self) -> None:
        most = len(BRANDS) * len(PRODUCTS) * 2 // 3 * MEMBERS_PER_FAMILY
        if self.num_skus % MEMBERS_PER_FAMILY or not MEMBERS_PER_FAMILY <= self.num_skus <= most:
            raise UserError(
                f"--skus {self.num_skus}: the larger shop has families of {MEMBERS_PER_FAMILY} SKUs, so give a multiple"
                f" of {MEMBERS_PER_FAMILY} up to {most}."
            )


def write_large_shop(root: Path, shop: LargeShop, num_workers: int = 2) -> None:
    """Makes the shop in the folder `root`, whole or not at all: train.json, val.json, retrieval.json (the SKUs that are
    never trained), catalogue.json and the pictures. The files depend on `shop` alone."""
    with atomic_folder(root, is_ours=lambda folder: False) as folder:
        tasks = []
        for split in SPLITS:
            (folder / split).mkdir()
            count = len(labels_of(shop, split))
            firsts = range(0, count, PICTURES_PER_TASK)
            tasks += [(folder, shop, split, first, min(first + PICTURES_PER_TASK, count)) for first in firsts]
        drawn(_write_some, tasks, num_workers)
        for name, value in large_shop_files(shop).items():
            write_json(folder / name, value)


def is_large_shop(root: Path, shop: LargeShop) -> bool:
    """Whether the folder holds this very shop. It is written whole or not at all, so its catalogue says so."""
    file = folder_to_read(root) / "catalogue.json"
    return file.is_file() and read_json(file) == large_shop_files(shop)["catalogue.json"]


def large_shop_files(shop: LargeShop) -> dict[str, dict[str, object]]:
    """The content of each JSON file, by the file's name."""
    sold = large_catalogue(shop)
    counts = {split: len(labels_of(shop, split)) for split in SPLITS}
    return {
        "train.json": _labelled(sold.trained, "train", labels_of(shop, "train")),
        "val.json": _labelled(sold.trained, "val", labels_of(shop, "val")),
        "retrieval.json": _labelled(sold.novel, "novel", labels_of(shop, "novel")),
        "catalogue.json": {"name": NAME, "skus": shop.num_skus, "seed": shop.seed, "num_images": counts},
    }


@lru_cache(maxsize=2)
def large_catalogue(shop: LargeShop) -> Catalogue:
    """The SKUs. Class numbers are shuffled: neighbours in number are strangers."""
    num_trained = shop.num_skus // MEMBERS_PER_FAMILY
    skus = [
        Sku(family, int(member))
        for family in _families(shop, num_trained + num_trained // 2)
        for member in _members(shop, family.number)
    ]
    parts = (skus[: shop.num_skus], skus[shop.num_skus :])
    trained, novel = (
        tuple(part[row] for row in numpy_generator(shop.seed, f"large_shop.{role}").permutation(len(part)))
        for role, part in zip(("classes", "novel_classes"), parts)
    )
    return Catalogue(trained, novel)


@lru_cache(maxsize=8)
def labels_of(shop: LargeShop, split: str) -> np.ndarray:
    """(num_images,) int64: what each picture of a split shows, in the order of the files' numbers."""
    sold = large_catalogue(shop)
    counts = {
        "train": _train_counts(shop),
        "val": np.full(len(sold.trained), VAL_PER_SKU),
        "novel": np.full(len(sold.novel), NOVEL_PER_SKU),
    }[split]
    labels = np.repeat(np.arange(len(counts)), counts)
    return numpy_generator(shop.seed, f"large_shop.order.{split}").permutation(labels)


def large_picture(shop: LargeShop, split: str, index: int) -> bytes:
    """The JPEG file of one picture. It depends on these three alone."""
    sold = large_catalogue(shop)
    sku = (sold.novel if split == "novel" else sold.trained)[labels_of(shop, split)[index]]
    rng = numpy_generator(shop.seed, f"large_shop.{split}", index)
    # Few strangers: their packs are drawn once, and kept.
    strangers = [other for other in sold.trained[:_NUM_STRANGERS] if other.family.number != sku.family.number]
    return jpeg(rng, photograph(rng, sku, strangers, shop.seed))


def _train_counts(shop: LargeShop) -> np.ndarray:
    """(SKUs,) training images of each, from HEAD_IMAGES down to TAIL_IMAGES exponentially."""
    rank = np.arange(shop.num_skus) / (shop.num_skus - 1)
    sizes = np.rint(HEAD_IMAGES * (TAIL_IMAGES / HEAD_IMAGES) ** rank).astype(np.int64)
    return sizes[numpy_generator(shop.seed, "large_shop.class_sizes").permutation(shop.num_skus)]


def _members(shop: LargeShop, family: int) -> np.ndarray:
    """Which flavours a family sells."""
    return numpy_generator(shop.seed, "large_shop.members", family).permutation(MEMBERS_PER_FAMILY + 1)[
        :MEMBERS_PER_FAMILY
    ]


def _families(shop: LargeShop, number: int) -> list[Family]:
    """The families in shuffled order. The brands of one product all differ, and so do their liveries."""
    rng = numpy_generator(shop.seed, "large_shop.families")
    pairs = [
        (product, brand, palette)
        for product in range(len(PRODUCTS))
        for brand, palette in zip(rng.permutation(len(BRANDS)), rng.permutation(len(PALETTES)))
    ]
    # One family of each product, then a second one of each, and so on.
    by_round = sorted(range(len(pairs)), key=lambda place: place % len(BRANDS))[:number]
    chosen = [pairs[by_round[place]] for place in rng.permutation(number)]
    return [
        Family(
            number=place,
            seed=derive_seed(shop.seed, "large_shop.family", place),
            brand=BRANDS[brand],
            product=PRODUCTS[product],
            palette=PALETTES[palette],
            layout=LAYOUTS[place % len(LAYOUTS)],
            cues=cues_of(PRODUCTS[product], place),
            weight=int(rng.integers(1, 4)),
            upper=bool(rng.random() < 0.5),
            slant=float(rng.choice([0.0, 0.0, 0.2])),
        )
        for place, (product, brand, palette) in enumerate(chosen)
    ]


def _labelled(skus: tuple[Sku, ...], split: str, labels: np.ndarray) -> dict[str, object]:
    return {
        "annotations": [
            {"category_id": int(label), "fpath": f"{split}/{index:06d}.jpg", "image_id": f"{split}_{index:06d}"}
            for index, label in enumerate(labels)
        ],
        "num_classes": len(skus),
        "class_names": [sku.name for sku in skus],
        "groups": [sku.family.name for sku in skus],
    }


def _write_some(folder: Path, shop: LargeShop, split: str, first: int, end: int) -> None:
    for index in range(first, end):
        (folder / split / f"{index:06d}.jpg").write_bytes(large_picture(shop, split, index))
