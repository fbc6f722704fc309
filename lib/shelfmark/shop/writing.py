"""The shop as a folder: pictures, annotations and the catalogue."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.files import read_json, write_json
from shelfmark.core.folders import atomic_folder, folder_to_read
from shelfmark.shop.catalogue import Sku, catalogue
from shelfmark.shop.drawing import PICTURES_PER_TASK, drawn
from shelfmark.shop.pictures import picture
from shelfmark.shop.splits import SPLITS, gallery_mask, split_labels

NAME = "shop-1"
"""Stands for this generator as it is. One that draws anything else needs another name."""
ANNOTATION_SHA256 = {
    "train.json": "0d8ff7d7c88cf33ab4274fd9baa269e85fbbdccd069e8cf23207ec55505f2840",
    "val.json": "1bde760942ca8921260eb2beda677b2b664bd8b5ff0a82de00e24318b01d5bab",
    "retrieval.json": "382dafb16911849f9a9ec3b9a9c1a0644411b06b143da137934e465e07cfa465",
    "test.json": "c399fef7e2b9c24abd3017bf4fa462667bb7191fa2b42a70bf4cffc133e30b32",
    "catalogue.json": "bfc286bb18194197c1f8f40c84b1af44904f6c2776d1ac74443b78f9e5bf445f",
}
"""The hash of each file's value with seed 0 (`sha256_json`): the splits are frozen with the pictures."""


def generate_shop(root: Path, seed: int = 0, num_workers: int = 2) -> None:
    """Makes the shop in the folder `root`, whole or not at all; an older shop there is replaced.

    The files depend on the seed alone, not on the number of processes that draw them.
    """
    _check_replaceable(root)
    with atomic_folder(root, is_ours=_is_shop) as folder:
        for split in SPLITS:
            (folder / split).mkdir()
        drawn(_write_some, [(folder, seed, *task) for task in _tasks(seed)], num_workers)
        for name, value in shop_files(seed).items():
            write_json(folder / name, value)


def is_complete(root: Path) -> bool:
    """Whether `root` holds a shop that this generator made, with all of its files."""
    root = folder_to_read(root)
    if not all((root / name).is_file() for name in ANNOTATION_SHA256):
        return False
    made = read_json(root / "catalogue.json")
    if made.get("name") != NAME:
        return False
    return all(_num_pictures(root / split) == count for split, count in made["num_images"].items())


def _num_pictures(folder: Path) -> int:
    # Thrice as fast as a glob, and every training on the shop asks.
    return sum(name.endswith(".jpg") for name in os.listdir(folder)) if folder.is_dir() else 0


def shop_files(seed: int) -> dict[str, object]:
    """The content of each JSON file, by the file's name."""
    sold = catalogue(seed)
    novel = split_labels(seed, "novel")
    gallery = gallery_mask(novel)
    roles = [{"is_query": not shown, "is_gallery": bool(shown)} for shown in gallery]
    return {
        "train.json": _labelled(sold.trained, "train", split_labels(seed, "train")),
        "val.json": _labelled(sold.trained, "val", split_labels(seed, "val")),
        "retrieval.json": _labelled(sold.novel, "novel", novel, roles),
        "test.json": {"images": [{"image_id": file_name(i)} for i in range(len(split_labels(seed, "test")))]},
        "catalogue.json": {
            "name": NAME,
            "seed": seed,
            "num_images": {split: len(split_labels(seed, split)) for split in SPLITS},
            "trained": [_described(sku) for sku in sold.trained],
            "novel": [_described(sku) for sku in sold.novel],
        },
    }


def file_name(index: int) -> str:
    """The file name of a split's picture number `index`."""
    return f"{index:06d}.jpg"


def _labelled(
    skus: tuple[Sku, ...], split: str, labels: np.ndarray, more: list[dict[str, bool]] | None = None
) -> dict[str, object]:
    """An annotation file: its records in the files' order, `more` is added to each."""
    records: list[dict[str, object]] = []
    for index, label in enumerate(labels):
        record = {"category_id": int(label), "fpath": f"{split}/{file_name(index)}", "image_id": f"{split}_{index:06d}"}
        records.append({**record, **(more[index] if more else {})})
    return {
        "annotations": records,
        "num_classes": len(skus),
        "class_names": [sku.name for sku in skus],
        "groups": [sku.family.name for sku in skus],
    }


def _described(sku: Sku) -> dict[str, object]:
    family = sku.family
    return {
        "name": sku.name,
        "family": family.name,
        "brand": family.brand,
        "product": family.product.name,
        "shape": family.product.shape,
        "amount": family.product.amount,
        "livery": family.layout,
        "differs_in": ["word", *family.cues],
        "member": sku.member,
        "flavour": sku.flavour.word,
    }


def _tasks(seed: int) -> Iterator[tuple[str, int, int]]:
    """(split, first, end) of pictures that one process draws in one go."""
    for split in SPLITS:
        count = len(split_labels(seed, split))
        for first in range(0, count, PICTURES_PER_TASK):
            yield split, first, min(first + PICTURES_PER_TASK, count)


def _write_some(folder: Path, seed: int, split: str, first: int, end: int) -> None:
    for index in range(first, end):
        (folder / split / file_name(index)).write_bytes(picture(seed, split, index))


def _check_replaceable(root: Path) -> None:
    """Refuses to put the shop in the place of something else."""
    if root.exists() and not _is_shop(root) and (not root.is_dir() or any(root.iterdir())):
        raise UserError(
            f"{root} exists and is not a generated shop, so it is not replaced. Give the shop a folder of its own, "
            "or remove that one."
        )
    others = {path.name for path in root.iterdir()} - {*SPLITS, *ANNOTATION_SHA256} if root.is_dir() else set()
    if others:
        raise UserError(
            f"{root} is a shop that is not whole, and holds {', '.join(sorted(others)[:5])} besides, so it is not"
            " replaced. Move that out of it, and the shop is made again."
        )


def _is_shop(root: Path) -> bool:
    file = root / "catalogue.json"
    return file.is_file() and b'"name": "shop-' in file.read_bytes()[:4096]
