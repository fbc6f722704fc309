"""Class weights of the classification losses, from the training counts. Legend: N batch, C classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from shelfmark.losses.checks import require_not_negative
from shelfmark.losses.classification import ClassificationLoss
from shelfmark.losses.entries import LossContext, LossEntry
from shelfmark.losses.loss import option
from shelfmark.ops.longtail import effective_number_weights, power_weights

ClassWeights = Literal["none", "effective_number", "power"]


@dataclass(frozen=True)
class DeferredWeights:
    """One loss before an optimizer step and another from it on: deferred re-weighting.

    Source: Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", NeurIPS 2019,
    algorithm 1, which weighs classes once the network has settled, from 80 % of the training on.
    """

    early: ClassificationLoss
    late: ClassificationLoss
    from_step: int

    def __call__(self, logits: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """As the loss of that step: see `ClassificationLoss`."""
        return self._loss(step)(logits, labels, step)

    def over_ranks(self, logits: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """As the loss of that step: see `ClassificationLoss`."""
        return self._loss(step).over_ranks(logits, labels, step)

    def divisor(self, labels: Tensor, step: int = 0) -> Tensor:
        """As that of the loss of that step: see `ClassificationLoss`."""
        return self._loss(step).divisor(labels, step)

    @property
    def takes_probabilities(self) -> bool:
        return self.late.takes_probabilities

    def _loss(self, step: int) -> ClassificationLoss:
        return self.early if step < self.from_step else self.late


@dataclass(frozen=True, kw_only=True)
class ClassificationLossEntry(LossEntry):
    """An entry whose loss is a `ClassificationLoss`."""

    class_weights: ClassWeights = option(
        "none",
        "weight of each class, by its number n of training images. none: all classes weigh the same."
        " effective_number: (1 - beta) / (1 - beta^n). power: n^-power. The weights are scaled to a mean"
        " of 1, and a class without images gets 0",
    )
    beta: float = option(
        0.9999,
        "for class_weights=effective_number: beta, 0 to below 1. 0: all classes weigh the same. Near 1:"
        " weights are as n^-1",
    )
    power: float = option(1.0, "for class_weights=power: the exponent, 0 or above. 0: all classes weigh the same")
    class_weights_from_epoch: int = option(
        0,
        "first epoch, counted from 0, with class weights (deferred re-weighting). Before it all classes weigh the same",
    )

    def check_options(self) -> None:
        effective_number_weights([1], self.beta)
        require_not_negative("power", self.power)
        require_not_negative("class_weights_from_epoch", self.class_weights_from_epoch)
        super().check_options()

    def build(self, context: LossContext) -> ClassificationLoss | DeferredWeights:
        weight = self._class_weights(context)
        weighted: ClassificationLoss = self.loss_of(context, weight=weight)
        if weight is None or self.class_weights_from_epoch == 0:
            return weighted
        first_step = self.class_weights_from_epoch * context.steps_per_epoch
        return DeferredWeights(self.loss_of(context), weighted, first_step)

    def _class_weights(self, context: LossContext) -> Tensor | None:
        counts = context.counts.to(context.device)
        if self.class_weights == "effective_number":
            return effective_number_weights(counts, self.beta)
        if self.class_weights == "power":
            return power_weights(counts, self.power)
        return None
