"""What each picture shows: the labels of the four sets, in the order of the files."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from shelfmark.core.rng import numpy_generator
from shelfmark.shop.catalogue import NUM_CLASSES, NUM_NOVEL, class_counts

SPLITS = ("train", "val", "test", "novel")
VAL_PER_CLASS = 6
TEST_PER_CLASS = 4
QUERY_PER_CLASS = 5
GALLERY_PER_CLASS = 3


@lru_cache(maxsize=16)
def split_labels(seed: int, split: str) -> np.ndarray:
    """(num_images,) int64: what each picture of a split shows, in the order of the files' numbers.

    The order is shuffled, so that a file's number tells nothing about its class.
    """
    counts = {
        "train": class_counts(seed),
        "val": np.full(NUM_CLASSES, VAL_PER_CLASS),
        "test": np.full(NUM_CLASSES, TEST_PER_CLASS),
        "novel": np.full(NUM_NOVEL, QUERY_PER_CLASS + GALLERY_PER_CLASS),
    }[split]
    labels = np.repeat(np.arange(len(counts)), counts)
    return numpy_generator(seed, f"shop.order.{split}").permutation(labels)


def gallery_mask(labels: np.ndarray) -> np.ndarray:
    """(num_images,) bool: the first GALLERY_PER_CLASS pictures of each class are the gallery, the rest queries."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[order])
    mask = np.empty(len(labels), dtype=bool)
    mask[order] = np.arange(len(labels)) - starts < GALLERY_PER_CLASS
    return mask
