"""What new classes change: for pictures of the old classes, and how well the new ones are known.

Legend: N images, n rows, C old classes, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from shelfmark.calibration.calibrated import blocks
from shelfmark.calibration.imprinting import Imprinting, without_own
from shelfmark.core.types import Array

Scores = Callable[[Tensor], Tensor]
"""Features (n, D) -> logits of all classes, the new ones last."""


@dataclass(frozen=True)
class OldClasses:
    """Of num_images pictures of old classes: top-1 among the old classes, and among all; the mean probability of the
    right class, likewise; and num_taken, how many now go to a new class, of which num_right_before were right."""

    num_images: int
    top1_before: float
    top1_after: float
    probability_before: float
    probability_after: float
    num_taken: int
    num_right_before: int


@dataclass(frozen=True)
class NewClasses:
    """top1: of the num_images pictures of classes with several, each scored by a row that it has no part in. None:
    every new class has one picture."""

    num_images: int
    top1: float | None


def old_classes(scores: Scores, features: Array, labels: Array, num_old: int) -> OldClasses:
    """features (N, D), labels (N,): pictures of the old classes, whose numbers are below `num_old`; -1 is left out."""
    labels = torch.as_tensor(labels).cpu()
    rows = (labels >= 0).nonzero()[:, 0]
    sums = torch.zeros(6).double()
    for block in blocks(len(rows), num_old):
        part = rows[block]
        logits = scores(torch.as_tensor(features[part.numpy()])).double().cpu()
        label = labels[part]
        before, after = logits[:, :num_old], logits
        right, taken = before.argmax(dim=1) == label, after.argmax(dim=1) >= num_old
        probabilities = [one.softmax(dim=1).gather(1, label[:, None]).sum() for one in (before, after)]
        counts = [right, after.argmax(dim=1) == label, taken, taken & right]
        sums += torch.stack([*(one.sum().double() for one in counts), *probabilities])
    num_right, num_right_after, num_taken, num_lost, before, after = sums.tolist()
    num = len(rows)
    return OldClasses(
        num, num_right / num, num_right_after / num, before / num, after / num, int(num_taken), int(num_lost)
    )


def new_classes(scores: Scores, imprinting: Imprinting, features: Array, labels: Tensor, num_old: int) -> NewClasses:
    """features (N, D), labels (N,): the pictures that the rows of the new classes, from `num_old` on, were made of."""
    seen, numbers = imprinting.seen(features), labels - num_old
    counts = torch.bincount(numbers)
    sums = torch.zeros(len(counts), seen.shape[1]).double().index_add_(0, numbers, seen)
    means = sums / counts[:, None]
    rows = (counts[numbers] > 1).nonzero()[:, 0]
    if not len(rows):
        return NewClasses(0, None)
    num_right = 0
    for block in blocks(len(rows), num_old):
        part = rows[block]
        own = numbers[part]
        logits = scores(torch.as_tensor(features[part.numpy()])).double().cpu()
        alone = imprinting.scores(without_own(seen[part], means[own], counts[own]), seen[part])
        logits.scatter_(1, labels[part, None], alone[:, None])
        num_right += int((logits.argmax(dim=1) == labels[part]).sum())
    return NewClasses(len(rows), num_right / len(rows))
