"""Photographs of whole shelves, drawn by the same generator, with the true box of every pack.

A shelf has rows of runs: one SKU, one to five times side by side. One run in eight of val and test is of a SKU that is
never trained; val and test have other families of these. Frozen as the shop is: figures were measured on these very
pictures.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from shelfmark.core.files import read_json, write_json
from shelfmark.core.folders import atomic_folder, folder_to_read
from shelfmark.core.rng import numpy_generator
from shelfmark.shop.camera import jpeg, photographed
from shelfmark.shop.catalogue import Sku, catalogue
from shelfmark.shop.layers import over, shadowed, trimmed
from shelfmark.shop.obstacles import NUM_PRICES, TAG_COLORS, price_tag
from shelfmark.shop.packs import Pose, pack_of
from shelfmark.shop.stages import RAILS
from shelfmark.shop.surfaces import one_of, surface

NAME = "shop-shelves-1"
"""Stands for this generator as it is. One that draws anything else needs another name."""
SIDE_PX, NUM_ROWS = 960, 5
PHOTOGRAPHS: Mapping[str, int] = {"train": 60, "val": 20, "test": 20}
_ROW_PX, _RAIL_PX = SIDE_PX // NUM_ROWS, 26
_NOVEL_SHARE, _MOST_FACINGS = 1 / 8, 5


class TrueBox(NamedTuple):
    """label: of the SKU, those that are never trained behind the others. box: x, y, width, height in pixels."""

    label: int
    box: tuple[int, int, int, int]


def write_shelves(
    root: Path, seed: int = 0, num_workers: int = 2, photographs: Mapping[str, int] | None = None
) -> None:
    """Makes the folder `root`, whole or not at all: train.json, val.json, test.json with the boxes and labels of each
    photograph, boxes.json with the boxes of test alone, catalogue.json and the photographs. The files depend on the
    seed and on `photographs`, the number of each split (by default PHOTOGRAPHS); more of them leave the first ones as
    they are."""
    photographs = photographs or PHOTOGRAPHS
    with atomic_folder(root, is_ours=lambda folder: False) as folder:
        for split in PHOTOGRAPHS:
            (folder / split).mkdir()
        tasks = [(folder, seed, split, number) for split, count in photographs.items() for number in range(count)]
        # Fresh processes: a fork would copy the locks of threads that torch has started here.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(num_workers, context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
            found = list(pool.map(_write_one, tasks, chunksize=4))
        boxes: dict[str, list[list[TrueBox]]] = {split: [] for split in PHOTOGRAPHS}
        for (_, _, split, _), of_one in zip(tasks, found):
            boxes[split].append(of_one)
        for name, value in shelf_files(seed, boxes).items():
            write_json(folder / name, value)


def is_shelves(root: Path, seed: int = 0, photographs: Mapping[str, int] | None = None) -> bool:
    """Whether the folder holds these very shelves. It is written whole or not at all, so its catalogue says so."""
    file = folder_to_read(root) / "catalogue.json"
    return file.is_file() and read_json(file) == _described(seed, photographs or PHOTOGRAPHS)


def shelf_files(seed: int, boxes: Mapping[str, Sequence[Sequence[TrueBox]]]) -> dict[str, dict[str, object]]:
    """The content of each JSON file, by the file's name. boxes: split -> of each photograph."""
    test = [{"image_id": path, "bbox": list(one.box)} for path, one in _by_path("test", boxes["test"])]
    return {
        **{f"{split}.json": _labelled(seed, split, boxes[split]) for split in PHOTOGRAPHS},
        "boxes.json": {"images": test},
        "catalogue.json": _described(seed, {split: len(of_split) for split, of_split in boxes.items()}),
    }


def shelf(seed: int, split: str, number: int) -> tuple[bytes, list[TrueBox]]:
    """The JPEG file of one photograph, and its boxes from the upper left to the lower right. They depend on these three
    alone."""
    rng = numpy_generator(seed, f"shelves.{split}", number)
    picture, light = _empty_shelf(rng, seed), float(rng.uniform(-0.9, 0.9))
    boxes: list[TrueBox] = []
    for row in range(NUM_ROWS):
        picture, of_row = _filled(rng, seed, split, picture, row, light)
        boxes += of_row
    return jpeg(rng, photographed(rng, picture)), boxes


@lru_cache(maxsize=4)
def skus_of(seed: int) -> tuple[Sku, ...]:
    """Every SKU by its label: those that are trained, then those that never are."""
    sold = catalogue(seed)
    return (*sold.trained, *sold.novel)


def novel_labels(seed: int, split: str) -> list[int]:
    """The labels of the SKUs that are never trained and stand on the shelves of a split: of train none, of val those of
    every second family, of test the others."""
    if split == "train":
        return []
    num_trained, sold = len(catalogue(seed).trained), catalogue(seed).novel
    families = sorted({sku.family.number for sku in sold})
    own = set(families[0 if split == "val" else 1 :: 2])
    return [num_trained + row for row, sku in enumerate(sold) if sku.family.number in own]


def _empty_shelf(rng: np.random.Generator, seed: int) -> np.ndarray:
    """The back, dim under each board, the boards, and the rails with price tags."""
    back = cv2.resize(surface(rng, seed, "paint"), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_LINEAR)
    dim = np.tile(np.linspace(rng.uniform(0.25, 0.5), rng.uniform(0.6, 0.85), _ROW_PX), NUM_ROWS)
    picture = (back * dim[:, None, None]).astype(np.uint8)
    rail, steel = np.array(one_of(rng, RAILS)), surface(rng, seed, "steel")
    board = cv2.resize(steel, (SIDE_PX, _RAIL_PX), interpolation=cv2.INTER_AREA) * 0.55 + rail * 0.45
    color = one_of(rng, TAG_COLORS)
    for row in range(NUM_ROWS):
        base = (row + 1) * _ROW_PX
        picture[base - _RAIL_PX : base] = board
        x = int(rng.integers(5, 90))
        while x + 40 < SIDE_PX:
            tag = cv2.resize(price_tag(color, int(rng.integers(NUM_PRICES))), (40, 20), interpolation=cv2.INTER_AREA)
            picture[base - _RAIL_PX + 3 : base - _RAIL_PX + 23, x : x + 40] = tag[..., :3]
            x += int(rng.integers(80, 200))
    return picture


def _filled(
    rng: np.random.Generator, seed: int, split: str, picture: np.ndarray, row: int, light: float
) -> tuple[np.ndarray, list[TrueBox]]:
    """The picture with a row of runs of packs, and their boxes."""
    base = (row + 1) * _ROW_PX - _RAIL_PX + 2
    layer = np.zeros((SIDE_PX, SIDE_PX, 4), np.uint8)
    boxes: list[TrueBox] = []
    x = int(rng.integers(4, 24))
    while True:
        label = _next_label(rng, seed, split)
        pose = Pose(float(np.clip(rng.normal(0, 7), -16, 16)), float(rng.uniform(0, 8)), light)
        posed = trimmed(pack_of(skus_of(seed)[label]).posed(pose))
        height = rng.uniform(0.66, 0.84) * _ROW_PX
        for _ in range(int(rng.integers(1, _MOST_FACINGS + 1))):
            scale = height * rng.uniform(0.98, 1.02) / max(posed.shape[0], 0.9 * posed.shape[1])
            sides = (max(8, round(posed.shape[1] * scale)), max(8, round(posed.shape[0] * scale)))
            if x + sides[0] + 4 > SIDE_PX:
                return _laid(picture, layer, light), boxes
            pack = cv2.resize(posed, sides, interpolation=cv2.INTER_AREA)
            # A pack that was made smaller may have lost its faintest edge.
            left, top, width, high = cv2.boundingRect((pack[..., 3] > 127).astype(np.uint8))
            upper = base - sides[1] - int(rng.integers(0, 4))
            layer[upper : upper + sides[1], x : x + sides[0]] = pack
            boxes.append(TrueBox(label, (x + left, upper + top, width, high)))
            x += sides[0] + int(rng.integers(1, 9))


def _laid(picture: np.ndarray, layer: np.ndarray, light: float) -> np.ndarray:
    return over(shadowed(picture, layer, (-6 * light, 3), 4, 0.45), layer)


def _next_label(rng: np.random.Generator, seed: int, split: str) -> int:
    novel = novel_labels(seed, split)
    if novel and rng.random() < _NOVEL_SHARE:
        return one_of(rng, novel)
    return int(rng.integers(len(catalogue(seed).trained)))


def _labelled(seed: int, split: str, boxes: Sequence[Sequence[TrueBox]]) -> dict[str, object]:
    # The training part knows no class that is never trained.
    skus = catalogue(seed).trained if split == "train" else skus_of(seed)
    return {
        "annotations": [
            {"category_id": one.label, "fpath": path, "bbox": list(one.box)} for path, one in _by_path(split, boxes)
        ],
        "num_classes": len(skus),
        "class_names": [sku.name for sku in skus],
        "groups": [sku.family.name for sku in skus],
    }


def _by_path(split: str, boxes: Sequence[Sequence[TrueBox]]) -> Iterator[tuple[str, TrueBox]]:
    return ((f"{split}/{number:03}.jpg", one) for number, of_one in enumerate(boxes) for one in of_one)


def _described(seed: int, photographs: Mapping[str, int]) -> dict[str, object]:
    return {"name": NAME, "seed": seed, "num_photographs": dict(photographs)}


def _write_one(task: tuple[Path, int, str, int]) -> list[TrueBox]:
    folder, seed, split, number = task
    content, boxes = shelf(seed, split, number)
    (folder / split / f"{number:03}.jpg").write_bytes(content)
    return boxes
