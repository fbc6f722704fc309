"""Balanced softmax: cross-entropy that knows how many images a class has. Legend: N batch, C classes."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from shelfmark.losses.classification import ClassificationLoss, Targets, require_weight
from shelfmark.ops.longtail import Counts, log_prior


@dataclass(frozen=True, eq=False)
class BalancedSoftmax(ClassificationLoss):
    """Cross-entropy of z + ln n, with z the logits and n the class counts; the prediction is the largest z.

    counts: (C,) training images a class. A class without images counts as one with a single image: at 0 it could
    neither be learned nor cost anything finite. weight: (C,) class weights, see `ClassificationLoss`.
    Source: Ren et al., "Balanced Meta-Softmax for Long-Tailed Visual Recognition", NeurIPS 2020, theorem 1.
    """

    counts: Counts
    weight: Tensor | None = None
    log_prior: Tensor = field(init=False, repr=False)
    """(C,) float64, ln n less the logarithm of all images, which the softmax takes away again"""

    def __post_init__(self) -> None:
        require_weight(self.weight)
        object.__setattr__(self, "log_prior", log_prior(self.counts))

    def losses(self, logits: Tensor, targets: Targets) -> Tensor:
        return targets.negative_log_likelihood(logits + self.log_prior.to(logits))
