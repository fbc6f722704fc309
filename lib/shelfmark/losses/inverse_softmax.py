"""Inverse softmax: cross-entropy for a world where the rare classes are frequent. Legend: N batch, C classes."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from shelfmark.losses.checks import require_not_negative
from shelfmark.losses.classification import ClassificationLoss, Targets, require_weight
from shelfmark.losses.loss import option
from shelfmark.ops.longtail import Counts, log_prior


@dataclass(frozen=True, eq=False)
class InverseSoftmax(ClassificationLoss):
    """Cross-entropy of z + ln pi - strength * ln rho, with z the logits, pi the classes' shares of the images, and rho
    the same shares in reversed order: the rarest class has the largest.

    So the largest z is the best guess where the classes' shares are about rho^strength; strength=0 is
    `BalancedSoftmax`, whose guess is for equal shares. Classes with equally many images have equal adjustments: the
    mean of those of their places in the order.
    counts: (C,) training images a class. A class without images counts as one with a single image.
    strength is the authors' lambda. weight: (C,) class weights, see `ClassificationLoss`.
    Source: Zhang et al., "Self-Supervised Aggregation of Diverse Experts for Test-Agnostic Long-Tailed Recognition",
    NeurIPS 2022, section 4.1.
    """

    counts: Counts
    strength: float = option(
        2.0,
        "factor of the adjustment by the reversed class shares (the rarest class has the largest share);"
        " 0 or above. 0: balanced softmax",
    )
    weight: Tensor | None = None
    adjustment: Tensor = field(init=False, repr=False)
    """(C,) float64, ln pi - strength * ln rho"""

    def __post_init__(self) -> None:
        require_not_negative("strength", self.strength)
        require_weight(self.weight)
        own = log_prior(self.counts)
        object.__setattr__(self, "adjustment", own - self.strength * _reversed_order(own))

    def losses(self, logits: Tensor, targets: Targets) -> Tensor:
        return targets.negative_log_likelihood(logits + self.adjustment.to(logits))


def _reversed_order(values: Tensor) -> Tensor:
    """(C,): the values, the largest for the smallest and so on; the mean of their places for those that are equal."""
    ordered, places = values.sort()
    reversed_values = torch.empty_like(values).scatter_(0, places, ordered.flip(0))
    _, group, sizes = values.unique(return_inverse=True, return_counts=True)
    means = torch.zeros(len(sizes), dtype=values.dtype, device=values.device).scatter_add_(0, group, reversed_values)
    return (means / sizes)[group]
