"""Softmax equalization loss: rare classes do not pay for every image of the others. Legend: N batch, C classes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from shelfmark.core import dist
from shelfmark.core.rng import derive_seed
from shelfmark.losses.classification import ClassificationLoss, Targets, require_weight
from shelfmark.losses.loss import option
from shelfmark.ops.draws import uniform
from shelfmark.ops.longtail import Counts, checked_counts


@dataclass(frozen=True, eq=False)
class SoftmaxEQL(ClassificationLoss):
    """-ln of e^z_y / sum_c v_c e^z_c, with v_c = 0 for a tail class that is dropped and 1 otherwise.

    A tail class, of less than `threshold` of all images, is dropped from a row of another class with probability
    `gamma`, each row and class by itself. gamma=0 is cross-entropy, gamma=1 draws nothing. In the mean over draws
    the sum has 1 - gamma of each e^z_c of the tail, so the mean loss is at most -z_y + ln of that sum.
    A draw depends on the seed, the optimizer step, the row's place in the global batch and the class.
    counts: (C,) training images a class. weight: (C,) class weights, see `ClassificationLoss`.
    Source: Tan et al., "Equalization Loss for Long-Tailed Object Recognition", CVPR 2020.
    """

    takes_probabilities: ClassVar[bool] = False
    adds_over_rows: ClassVar[bool] = False  # its draws depend on a row's place in the batch

    counts: Counts
    gamma: float = option(
        ..., "probability that a tail class is left out of the softmax of an image of another class, 0 to 1"
    )
    threshold: float = option(..., "a class with less than this share of all training images is a tail class; 0 to 1")
    weight: Tensor | None = None
    seed: int = 0
    tail: Tensor = field(init=False, repr=False)
    """int64, the tail classes"""

    def __post_init__(self) -> None:
        for name in ("gamma", "threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must lie in 0..1")
        require_weight(self.weight)
        counts = checked_counts(self.counts)
        object.__setattr__(self, "tail", (counts / counts.sum() < self.threshold).nonzero()[:, 0])

    def losses(self, logits: Tensor, targets: Targets) -> Tensor:
        return targets.negative_log_likelihood(logits.masked_fill(self._dropped(logits, targets), -math.inf))

    def first_row(self, labels: Tensor) -> int:
        return dist.gather_keys(labels)[1] if 0 < self.gamma < 1 else 0

    def _dropped(self, logits: Tensor, targets: Targets) -> Tensor:
        """Which classes are missing in the sum of which row: (N, C) bool."""
        assert targets.labels is not None  # it takes no probabilities
        dropped = torch.zeros_like(logits, dtype=torch.bool)
        tail = self.tail.to(logits.device)
        if 0 < self.gamma < 1:
            rows = targets.first_row + torch.arange(len(logits), device=logits.device)
            draws = uniform(derive_seed(self.seed, "softmax_eql"), targets.step, rows, len(tail))
            dropped[:, tail] = draws < self.gamma
        else:
            dropped[:, tail] = self.gamma == 1
        return dropped.scatter_(1, targets.labels, False)
