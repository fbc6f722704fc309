"""Which classes are taken for which. Legend: N images."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class ConfusedPair(NamedTuple):
    """num_images of the num_of_class images of class `label` were predicted as class `predicted`."""

    label: int
    predicted: int
    num_images: int
    num_of_class: int


def confused_pairs(labels: Tensor, predicted: Tensor, most: int = 50) -> list[ConfusedPair]:
    """The `most` pairs (true class, predicted class) with the most images, the greatest first.

    labels, predicted: (N,) class numbers; a label of -1 leaves its image out. Of equal pairs the one that is the
    greater share of its true class leads, then the lower class. Memory is of order N: no C x C matrix.
    """
    if labels.ndim != 1 or predicted.shape != labels.shape:
        raise ValueError(f"labels {tuple(labels.shape)} and predicted {tuple(predicted.shape)} must both be (N,)")
    if most < 1:
        raise ValueError(f"most={most} must be 1 or above")
    is_labelled = labels >= 0
    labels, predicted = labels[is_labelled], predicted[is_labelled]
    of_class = torch.bincount(labels).tolist()
    is_wrong = labels != predicted
    wrong = torch.stack([labels[is_wrong], predicted[is_wrong]], dim=1)
    pairs, num_images = wrong.unique(dim=0, return_counts=True)
    found = [
        ConfusedPair(label, taken_for, number, of_class[label])
        for (label, taken_for), number in zip(pairs.tolist(), num_images.tolist())
    ]
    return sorted(found, key=lambda pair: (-pair.num_images, pair.num_of_class, pair.label, pair.predicted))[:most]


def taken_for(labels: Tensor, predicted: Tensor, most: int = 3) -> dict[int, list[ConfusedPair]]:
    """For each class with a wrong image the `most` classes that its images were taken for, the most frequent first.

    labels, predicted: as of `confused_pairs`; of equally frequent classes the lower leads.
    """
    found: dict[int, list[ConfusedPair]] = {}
    for pair in confused_pairs(labels, predicted, most=max(1, len(labels))):
        others = found.setdefault(pair.label, [])
        if len(others) < most:
            others.append(pair)
    return found
