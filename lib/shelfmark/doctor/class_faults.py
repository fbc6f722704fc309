"""Classes with too few pictures, and pairs of classes that seem to be one product. Legend: n pictures, C classes,
D embedding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from shelfmark.core.rng import numpy_generator
from shelfmark.retrieval.nearest import exact_neighbours

FEW_BELOW = 5
"""Different pictures of train."""
TOLD_APART = 0.05
"""Two classes are told apart where fewer of the random divisions of their images set the means as far apart."""
_NEIGHBOURS = 5
_DIVISIONS = 199
_AT_LEAST = 6


@dataclass(frozen=True, eq=False)
class TwinClasses:
    """Pairs of classes, the likeliest first. first, second: (pairs,) int64, first < second. chance: (pairs,) the share
    of random divisions of their images that set the means as far from each other as the labels do."""

    first: np.ndarray
    second: np.ndarray
    chance: np.ndarray


def few_classes(labels: np.ndarray, parts: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The classes (classes,) int64 with fewer than FEW_BELOW different pictures, the poorest first; and (C,) how many
    each class has.

    labels: (n,) of the readable pictures of train, -1 for none. parts: (n,) equal numbers are copies, which count once.
    """
    labelled = labels >= 0
    different = np.unique(np.stack([labels[labelled], parts[labelled]]), axis=1)
    counts = np.bincount(different[0], minlength=num_classes)
    few = np.flatnonzero(counts < FEW_BELOW)
    return few[np.argsort(counts[few], kind="stable")], counts


def twin_classes(features: np.ndarray, labels: np.ndarray) -> TwinClasses:
    """Pairs of classes whose means are closer than their spread, and that random labels would divide as well.

    features: (n, D), scaled to length 1; copies only once, because they make a class seem narrow. labels: (n,) int64,
    -1 for none. A class is compared with the five nearest others. Classes with fewer than 6 images are left out: those
    are too few to tell two products apart.
    """
    rows = np.flatnonzero(labels >= 0)
    rows = rows[np.argsort(labels[rows], kind="stable")]
    classes, begins, counts = np.unique(labels[rows], return_index=True, return_counts=True)
    if len(classes) < 2:
        return TwinClasses(classes[:0], classes[:0], np.empty(0))
    members = np.split(rows, begins[1:])
    means, spread = np.empty((len(classes), features.shape[1]), np.float32), np.empty(len(classes))
    for place, some in enumerate(members):
        units = _units(features[some])
        means[place] = units.mean(0)
        spread[place] = np.square(units - means[place]).sum() / max(1, len(some) - 1)
    first, second = _near_means(means)
    squared = np.square(means[first] - means[second]).sum(1)
    close = squared < (spread[first] + spread[second]) / 2
    close &= np.minimum(counts[first], counts[second]) >= _AT_LEAST
    first, second = first[close], second[close]
    chance = np.array(
        [_chance(_units(features[members[one]]), _units(features[members[two]])) for one, two in zip(first, second)]
    )
    order = np.argsort(-chance, kind="stable")
    order = order[chance[order] >= TOLD_APART]
    return TwinClasses(classes[first[order]], classes[second[order]], chance[order])


def _chance(one: np.ndarray, two: np.ndarray) -> float:
    """The share of random divisions of both classes' images whose means are as far apart as the means of the classes.

    one, two: (n, D) features of a class each; a division has parts of the classes' sizes.
    """
    every = np.concatenate([one, two])
    sides = np.concatenate([np.full(len(one), 1 / len(one)), np.full(len(two), -1 / len(two))]).astype(np.float32)
    generator = numpy_generator(len(every), "divisions of two classes")
    divisions = np.stack([sides, *(generator.permutation(sides) for _ in range(_DIVISIONS))])
    apart = np.square(divisions @ every).sum(1)
    return float((apart[1:] >= apart[0]).mean())


def _units(features: np.ndarray) -> np.ndarray:
    found = np.asarray(features, dtype=np.float32)
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12))


def _near_means(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows of which one is among the nearest of the other, each pair once, the lower row first."""
    near = exact_neighbours(torch.from_numpy(_units(means)), _NEIGHBOURS).ids.numpy()
    rows = np.repeat(np.arange(len(means)), near.shape[1])
    ends = np.unique(np.sort(np.stack([rows, near.ravel()]), axis=0), axis=1)
    return ends[0], ends[1]
