"""Logit adjustment in training: cross-entropy with the class prior to a power. Legend: N batch, C classes."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from shelfmark.losses.checks import require_not_negative
from shelfmark.losses.classification import ClassificationLoss, Targets, require_weight
from shelfmark.losses.loss import option
from shelfmark.ops.longtail import Counts, log_prior


@dataclass(frozen=True, eq=False)
class LogitAdjusted(ClassificationLoss):
    """Cross-entropy of z + tau ln pi, with z the logits and pi the classes' shares of the images.

    The prediction is the largest z.
    counts: (C,) training images a class. A class without images counts as one with a single image.
    weight: (C,) class weights, see `ClassificationLoss`.
    Source: Menon et al., "Long-Tail Learning via Logit Adjustment", ICLR 2021, eq. 10.
    """

    counts: Counts
    tau: float = option(
        1.0,
        "factor of ln(share of the class in the training images), which is added to each logit; 0 or"
        " above. 0: cross-entropy. 1: balanced softmax",
    )
    weight: Tensor | None = None
    adjustment: Tensor = field(init=False, repr=False)
    """(C,) float64, tau ln pi"""

    def __post_init__(self) -> None:
        require_not_negative("tau", self.tau)
        require_weight(self.weight)
        object.__setattr__(self, "adjustment", self.tau * log_prior(self.counts))

    def losses(self, logits: Tensor, targets: Targets) -> Tensor:
        return targets.negative_log_likelihood(logits + self.adjustment.to(logits))
