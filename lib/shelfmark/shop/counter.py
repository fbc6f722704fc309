"""What comes to the counter: photographs that took no part in a training, with a folder for each product.

Of every product that the shop trains, and of two hundred products of families that it does not sell. `shelfmark
thresholds` learns from them when to answer. Frozen as the shop is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from shelfmark.core.folders import atomic_folder
from shelfmark.core.rng import derive_seed, numpy_generator
from shelfmark.shop.camera import jpeg
from shelfmark.shop.catalogue import Sku, catalogue
from shelfmark.shop.drawing import PICTURES_PER_TASK, drawn
from shelfmark.shop.scene import photograph


@dataclass(frozen=True)
class Counter:
    """seed: of the shop whose counter it is. known_each: photographs of each trained product; unseen_each: of each of
    num_unseen products that the shop does not sell, at most 200."""

    seed: int = 0
    known_each: int = 12
    num_unseen: int = 200
    unseen_each: int = 3


class Visit(NamedTuple):
    """One photograph: of what, and its number among those of its product."""

    sku: Sku
    number: int

    @property
    def file(self) -> str:
        return f"{self.sku.name}/{self.number:02d}.jpg"


def write_counter(root: Path, counter: Counter, num_workers: int = 2) -> None:
    """Makes the photographs in the folder `root`, whole or not at all; a folder that is there stays as it is.

    The files depend on `counter` alone.
    """
    if root.is_dir():
        return
    count = len(visits(counter))
    with atomic_folder(root, is_ours=lambda folder: False) as folder:
        for visit in visits(counter):
            (folder / visit.file).parent.mkdir(exist_ok=True)
        firsts = range(0, count, PICTURES_PER_TASK)
        tasks = [(folder, counter, first, min(first + PICTURES_PER_TASK, count)) for first in firsts]
        drawn(_write_some, tasks, num_workers)


@lru_cache(maxsize=2)
def visits(counter: Counter) -> tuple[Visit, ...]:
    """Every photograph, in the order in which they are numbered for drawing."""
    parts = ((catalogue(counter.seed).trained, counter.known_each), (never_sold(counter), counter.unseen_each))
    return tuple(Visit(sku, number) for skus, each in parts for sku in skus for number in range(each))


@lru_cache(maxsize=2)
def never_sold(counter: Counter) -> tuple[Sku, ...]:
    """num_unseen products of other shops, family by family; no two have one name, and no family is one of this shop."""
    ours = catalogue(counter.seed)
    taken = {sku.family.name for sku in (*ours.trained, *ours.novel)}
    found: list[Sku] = []
    for shop in range(2):
        others = catalogue(derive_seed(counter.seed, "shop.counter", shop)).trained
        new = [sku for sku in others if sku.family.name not in taken]
        found += sorted(new, key=lambda sku: (sku.family.number, sku.member))
        taken |= {sku.family.name for sku in new}
    return tuple(found[: counter.num_unseen])


def visitor_picture(counter: Counter, index: int) -> bytes:
    """The JPEG file of one photograph."""
    sku = visits(counter)[index].sku
    rng = numpy_generator(counter.seed, "shop.counter", index)
    strangers = tuple(other for other in catalogue(counter.seed).trained if other.family.name != sku.family.name)
    return jpeg(rng, photograph(rng, sku, strangers, counter.seed))


def _write_some(folder: Path, counter: Counter, first: int, end: int) -> None:
    for index in range(first, end):
        (folder / visits(counter)[index].file).write_bytes(visitor_picture(counter, index))
