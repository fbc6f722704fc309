"""LDAM: a larger margin for a rarer class. Legend: N batch, C classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from shelfmark.losses.checks import require_not_negative, require_positive
from shelfmark.losses.classification import ClassificationLoss, Targets, require_weight
from shelfmark.losses.loss import HeadOutput, option
from shelfmark.ops.longtail import Counts, ldam_margins


@dataclass(frozen=True, eq=False)
class LDAM(ClassificationLoss):
    """Cross-entropy of scale * (cosine - margin), the margin at the label alone; called with cosines (N, C).

    The margins are proportional to counts**-1/4, see `ops.longtail.ldam_margins`.
    counts: (C,) training images a class. weight: (C,) class weights, see `ClassificationLoss`; the authors have them
    from 80 % of the training on (`DeferredWeights`).
    Source: Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", NeurIPS 2019.
    """

    consumes: ClassVar[HeadOutput] = "cosines"
    takes_probabilities: ClassVar[bool] = False

    counts: Counts
    max_margin: float = option(
        0.5, "margin of the class with the fewest training images, subtracted from the cosine; 0 or above"
    )
    scale: float = option(30.0, "factor of the cosines before the softmax, in place of model.classifier.scale; above 0")
    weight: Tensor | None = None
    margins: Tensor = field(init=False, repr=False)
    """(C,) float64"""

    def __post_init__(self) -> None:
        require_not_negative("max_margin", self.max_margin)
        require_positive("scale", self.scale)
        require_weight(self.weight)
        object.__setattr__(self, "margins", ldam_margins(self.counts, self.max_margin))

    def losses(self, logits: Tensor, targets: Targets) -> Tensor:
        assert targets.labels is not None  # it takes no probabilities
        margins = targets.at(self.margins.to(logits))
        scaled = (self.scale * logits).scatter_add_(1, targets.labels, -self.scale * margins)
        return targets.negative_log_likelihood(scaled)
