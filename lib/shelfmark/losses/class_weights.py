"""Class weights of the classification losses, from the training counts. Legend: N batch, C classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from shelfmark.losses.checks import require_not_negative
from shelfmark.losses.classification import ClassificationLoss
from shelfmark.losses.config import LossConfig, LossContext, described
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

    @property
    def takes_probabilities(self) -> bool:
        return self.late.takes_probabilities

    def _loss(self, step: int) -> ClassificationLoss:
        return self.early if step < self.from_step else self.late


@dataclass(frozen=True, kw_only=True)
class ClassificationLossConfig(LossConfig):
    """An entry whose loss is a `ClassificationLoss`; a subclass says which in `loss`."""

    head: str = described("whose logits the loss takes", "classifier")
    class_weights: ClassWeights = described(
        "weights of the classes by their n training images: effective_number is (1 - beta) / (1 - beta^n), power"
        " n^-power; both are scaled so that the mean over classes is 1, and a class without images gets 0",
        "none",
    )
    beta: float = described("of effective_number, 0 to below 1: 0 weighs all classes alike, near 1 it is n^-1", 0.9999)
    power: float = described("of power, 0 or above: 0 weighs all classes alike", 1.0)
    class_weights_from_epoch: int = described(
        "first epoch (from 0) with class weights (deferred re-weighting); before it all classes weigh the same", 0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        effective_number_weights([1], self.beta)
        require_not_negative("power", self.power)
        require_not_negative("class_weights_from_epoch", self.class_weights_from_epoch)
        # What the loss refuses is refused here already, before there are counts.
        self.loss(LossContext(torch.ones(1, dtype=torch.int64), torch.device("cpu")), None)

    def loss(self, context: LossContext, weight: Tensor | None) -> ClassificationLoss:
        """The loss with these class weights: (C,), or None for none."""
        raise NotImplementedError

    def build(self, context: LossContext) -> ClassificationLoss | DeferredWeights:
        weight = self._class_weights(context)
        weighted = self.loss(context, weight)
        if weight is None or self.class_weights_from_epoch == 0:
            return weighted
        first_step = self.class_weights_from_epoch * context.steps_per_epoch
        return DeferredWeights(self.loss(context, None), weighted, first_step)

    def _class_weights(self, context: LossContext) -> Tensor | None:
        counts = context.counts.to(context.device)
        if self.class_weights == "effective_number":
            return effective_number_weights(counts, self.beta)
        if self.class_weights == "power":
            return power_weights(counts, self.power)
        return None
