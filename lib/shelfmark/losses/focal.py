"""The focal loss: cross-entropy that fades for rows which are predicted well. Legend as in `classification`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from shelfmark.losses.checks import require_not_negative
from shelfmark.losses.classification import ClassificationLoss, Targets, require_weight
from shelfmark.losses.loss import option


@dataclass(frozen=True, eq=False)
class FocalLoss(ClassificationLoss):
    """-(1 - p_y)^gamma ln p_y, with p the softmax of the logits.

    weight: (C,) class weights, see `ClassificationLoss`; they weigh the row and leave p_y as it is.
    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, eq. 4, over a softmax.
    """

    gamma: float = option(
        ...,
        "an image counts by (1 - p)**gamma, with p the predicted probability of its label; 0 or above. 0:"
        " cross-entropy",
        config_default=2.0,
    )
    weight: Tensor | None = None

    def __post_init__(self) -> None:
        require_not_negative("gamma", self.gamma)
        require_weight(self.weight)

    def losses(self, logits: Tensor, targets: Targets) -> Tensor:
        surprise = targets.negative_log_likelihood(logits)
        # At p = 1 the power's slope is infinite for gamma below 1, while that of its product with -ln p is 0.
        missing = (-torch.expm1(-surprise)).clamp_min(torch.finfo(logits.dtype).tiny)
        return missing**self.gamma * surprise
