"""CDT: logits at a temperature of their class in training. Legend: N batch, C classes."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from shelfmark.losses.checks import require_not_negative
from shelfmark.losses.classification import ClassificationLoss, Targets, require_weight
from shelfmark.losses.loss import option
from shelfmark.ops.longtail import Counts, log_prior


@dataclass(frozen=True, eq=False)
class CDT(ClassificationLoss):
    """Cross-entropy of z_c / (n_max / n_c)^gamma, with z the logits and n the class counts. The largest z is predicted.

    A rare class needs larger logits in training, which makes up for its features, that deviate at test time.
    counts: (C,) training images a class. A class without images counts as one with a single image.
    weight: (C,) class weights, see `ClassificationLoss`.
    Source: Ye et al., "Identifying and Compensating for Feature Deviation in Imbalanced Deep Learning", 2020.
    """

    counts: Counts
    gamma: float = option(
        ...,
        "in training the logit of a class with n images is divided by (n_max / n)**gamma, with n_max the"
        " number of images of the largest class; 0 or above. 0: cross-entropy",
    )
    weight: Tensor | None = None
    factors: Tensor = field(init=False, repr=False)
    """(C,) float64, (n_c / n_max)^gamma"""

    def __post_init__(self) -> None:
        require_not_negative("gamma", self.gamma)
        require_weight(self.weight)
        prior = log_prior(self.counts)
        object.__setattr__(self, "factors", (self.gamma * (prior - prior.max())).exp())

    def losses(self, logits: Tensor, targets: Targets) -> Tensor:
        return targets.negative_log_likelihood(logits * self.factors.to(logits))
