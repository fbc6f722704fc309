"""Cross-entropy with label smoothing and class weights. Legend: N batch, C classes, K as in `Targets`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from shelfmark.core.errors import nearest
from shelfmark.losses.class_weights import ClassificationLossConfig
from shelfmark.losses.classification import ClassificationLoss, Targets, require_weight
from shelfmark.losses.config import LossContext

SmoothingForm = Literal["uniform", "others"]


@dataclass(frozen=True, eq=False)
class CrossEntropy(ClassificationLoss):
    """-sum_c t_c w_c ln p_c, summed over the batch and divided by the sum of w at the labels.

    The target t gives eps = label_smoothing away. smoothing_form `uniform`: eps / C to every class, the label's too
    (as torch.nn.functional.cross_entropy); `others`: eps / (C - 1) to the other classes, 1 - eps to the label.
    weight: w, (C,) class weights; 1 where not given. Each term keeps the weight of its own class c, while the
    mean divides by the weights of the labels, as in torch.
    Labels may be probabilities (N, C), which are smoothed as labels are; the mean divides by sum_nc t_nc w_c.
    Rows with label -1 are left out; without any other row the loss is 0 and its gradient zeros.
    Source of label smoothing: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016.
    """

    label_smoothing: float = 0.0
    smoothing_form: SmoothingForm = "uniform"
    weight: Tensor | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing={self.label_smoothing} must be at least 0 and below 1; usual is 0.1")
        forms = get_args(SmoothingForm)
        if self.smoothing_form not in forms:
            close = nearest(self.smoothing_form, forms)
            hint = f" Did you mean {close!r}?" if close else ""
            raise ValueError(f"smoothing_form={self.smoothing_form!r} is not one of: {', '.join(forms)}.{hint}")
        require_weight(self.weight)

    def losses(self, logits: Tensor, targets: Targets) -> Tensor:
        return targets.negative_log_likelihood(logits)

    def weighted_losses(self, logits: Tensor, targets: Targets) -> Tensor:
        if not self.label_smoothing:
            return super().weighted_losses(logits, targets)
        terms = logits.log_softmax(1)
        if self.weight is not None:
            terms = terms * self.weight.to(terms)
        share = self._share(logits.shape[1])
        return -(1 - share * logits.shape[1]) * targets.at(terms) - share * terms.sum(1, keepdim=True)

    def _share(self, num_classes: int) -> float:
        """What each class gets of label_smoothing. The label gets 1 - share * num_classes besides, in both forms."""
        if self.smoothing_form == "uniform":
            return self.label_smoothing / num_classes
        if num_classes == 1:
            raise ValueError("smoothing_form='others' needs two classes at least: with one there is no other class")
        return self.label_smoothing / (num_classes - 1)


@dataclass(frozen=True, kw_only=True)
class CrossEntropyConfig(ClassificationLossConfig):
    """`{name: cross_entropy}`"""

    name: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: float = 0.0
    """what the target gives away, 0 to below 1"""
    smoothing_form: SmoothingForm = "uniform"
    """uniform: to all classes, the label too; others: to the other classes"""

    def loss(self, context: LossContext, weight: Tensor | None) -> CrossEntropy:
        return CrossEntropy(self.label_smoothing, self.smoothing_form, weight)
