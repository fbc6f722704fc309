"""How many images on the drop list of `shelfmark clean` have a wrong label, by the accuracy of the judges.

    python benchmarks/clean_false_alarms.py

Made-up embeddings: classes around random directions, noise of several sizes, and 5% of the labels replaced. The better
the embedding, the more often the judges are right about an image from all the others. The table stands in
docs/definitions.md, section "Doubt about a label". Takes a minute on one core.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from shelfmark.cleaning.suspects import find_suspects, images_to_leave
from shelfmark.core.rng import numpy_generator

CATALOGUES = ((20, 20), (81, 32), (200, 15))
NOISES = np.arange(0.6, 2.0, 0.1)
SEEDS = range(3)
WRONG, DIM = 0.05, 128
EDGES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def measured(num_classes: int, per_class: int, noise: float, seed: int) -> tuple[float, int, int, float]:
    """The judges' accuracy, the images on the list, those of them with a wrong label, and the part of these found."""
    generator = numpy_generator(seed, "clean_false_alarms", num_classes)
    centres = generator.standard_normal((num_classes, DIM))
    true = np.repeat(np.arange(num_classes), per_class)
    features = centres[true] + 3 * noise * generator.standard_normal((len(true), DIM))
    is_wrong = generator.random(len(true)) < WRONG
    moved = (true + generator.integers(1, num_classes, len(true))) % num_classes
    suspects = find_suspects(features.astype(np.float32), np.where(is_wrong, moved, true))
    leaves = images_to_leave(suspects)
    return suspects.accuracy, int(leaves.sum()), int(is_wrong[leaves].sum()), float(leaves[is_wrong].mean())


def main() -> None:
    rows = [
        measured(*catalogue, noise, seed) for catalogue in CATALOGUES for noise in NOISES.tolist() for seed in SEEDS
    ]
    print("| right about an image | runs | images on the list with a wrong label | least | wrong labels found |")
    print("|---|---:|---:|---:|---:|")
    for low, high in pairwise(EDGES):
        chosen = [row for row in rows if low <= row[0] < high]
        if chosen:
            share = sum(row[2] for row in chosen) / sum(row[1] for row in chosen)
            least = min(row[2] / row[1] for row in chosen if row[1])
            found = np.mean([row[3] for row in chosen])
            print(f"| {low:.0%} to {high:.0%} | {len(chosen)} | {share:.0%} | {least:.0%} | {found:.0%} |")


if __name__ == "__main__":
    main()
