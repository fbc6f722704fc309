"""Classes with too few pictures, and pairs of classes that seem to be one product. Legend: n pictures, C classes,
D embedding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from shelfmark.retrieval.nearest import exact_neighbours

FEW_BELOW = 5
"""Different pictures of train."""
TWIN_BELOW = 0.05
"""Two classes are one product where the squared distance of their means is less than this part of their spread."""
_NEIGHBOURS = 5
_AT_LEAST = 3


@dataclass(frozen=True, eq=False)
class TwinClasses:
    """Pairs of classes, the closest first. first, second: (pairs,) int64, first < second. apart: (pairs,) the squared
    distance of the means, without what chance adds to it, divided by the mean spread of the two classes."""

    first: np.ndarray
    second: np.ndarray
    apart: np.ndarray


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
    """Pairs of classes whose means are closer than their spread lets two products be.

    features: (n, D), scaled to length 1; copies only once, because they make a class seem narrow. labels: (n,) int64,
    -1 for none. Classes of fewer than three pictures are left out. The squared distance of two means of samples is
    too great by the spread divided by the number of pictures, for each of them, so that is taken off: it is 0 in the
    mean where both samples are of one product. A class is compared with the five nearest others.
    """
    labelled = labels >= 0
    classes, numbers, counts = np.unique(labels[labelled], return_inverse=True, return_counts=True)
    units = features[labelled].astype(np.float64)
    units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-12)
    means = np.zeros((len(classes), features.shape[1]))
    np.add.at(means, numbers, units)
    means /= np.maximum(counts, 1)[:, None]
    spread = np.bincount(numbers, np.square(units - means[numbers]).sum(1), len(classes)) / np.maximum(counts - 1, 1)
    enough = np.flatnonzero(counts >= _AT_LEAST)
    if len(enough) < 2:
        nothing = np.empty(0, np.int64)
        return TwinClasses(nothing, nothing, np.empty(0))
    first, second = _near_means(means[enough])
    first, second = enough[first], enough[second]
    squared = np.square(means[first] - means[second]).sum(1)
    chance = spread[first] / counts[first] + spread[second] / counts[second]
    apart = (squared - chance) / np.maximum((spread[first] + spread[second]) / 2, 1e-12)
    order = np.argsort(apart, kind="stable")
    order = order[apart[order] < TWIN_BELOW]
    return TwinClasses(classes[first[order]], classes[second[order]], apart[order])


def _near_means(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows of which one is among the nearest of the other, each pair once, the lower row first."""
    units = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    near = exact_neighbours(torch.from_numpy(units.astype(np.float32)), _NEIGHBOURS).ids.numpy()
    rows = np.repeat(np.arange(len(means)), near.shape[1])
    ends = np.unique(np.sort(np.stack([rows, near.ravel()]), axis=0), axis=1)
    return ends[0], ends[1]
