"""Folders as a newcomer has them: 12 classes of 8 to 30 photographs, drawn from the grocery photographs by a seed.

    python benchmarks/first_hour_folders.py GroceryStoreDataset OUT --seeds 0 1 2 3 4

writes OUT/0, OUT/1 ..., each with a folder a class. Train and val photographs of the data set are one pool: which of
them are kept for validation is for `shelfmark train --images` to decide.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from shelfmark.core.errors import UserError
from shelfmark.core.rng import numpy_generator

NUM_CLASSES = 12
FEWEST, MOST = 8, 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of the data set, with train.txt and val.txt")
    parser.add_argument("out", type=Path, help="folder to make one folder a seed in")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    args = parser.parse_args()
    for seed in args.seeds:
        folder = args.out / str(seed)
        counts = draw(args.source, seed, folder)
        print(f"{folder}: {sum(counts.values())} photographs of {len(counts)} classes: {counts}")


def draw(source: Path, seed: int, out: Path) -> dict[str, int]:
    """Copies the photographs of one seed to `out`, which must not exist yet; returns the photographs of each class."""
    if os.path.lexists(out):
        raise UserError(f"{out} exists; give a folder that does not, so that no other photographs lie in it.")
    generator = numpy_generator(seed, "first hour")
    pool = _pool(source)
    # A class of fewer photographs than the fewest could not be one of the folders that are promised.
    large_enough = sorted(name for name, paths in pool.items() if len(paths) >= FEWEST)
    drawn = sorted(generator.choice(large_enough, NUM_CLASSES, replace=False).tolist())
    counts = {}
    for name in drawn:
        wanted = min(int(generator.integers(FEWEST, MOST + 1)), len(pool[name]))
        (out / name).mkdir(parents=True)
        for path in sorted(generator.choice(pool[name], wanted, replace=False).tolist()):
            # `train_` and `val_`, since both parts number their photographs from 1.
            shutil.copyfile(source / path, out / name / f"{path.split('/')[0]}_{Path(path).name}")
        counts[name] = wanted
    return counts


def _pool(source: Path) -> dict[str, list[str]]:
    """The photographs of each class, whose name is that of their folder; sorted."""
    pool: dict[str, list[str]] = {}
    for part in ("train", "val"):
        for line in (source / f"{part}.txt").read_text(encoding="utf-8").splitlines():
            path = line.split(",")[0].strip()
            pool.setdefault(Path(path).parent.name, []).append(path)
    return {name: sorted(paths) for name, paths in pool.items()}


if __name__ == "__main__":
    main()
