"""Cross-entropy with label smoothing and class weights. Legend: N batch, C classes, Y as in `Targets`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from shelfmark.losses.checks import require_one_of
from shelfmark.losses.classification import ClassificationLoss, Targets, require_weight
from shelfmark.losses.loss import option

SmoothingForm = Literal["uniform", "others"]
ADAPTIVE = -1.0


@dataclass(frozen=True, eq=False)
class CrossEntropy(ClassificationLoss):
    """-sum_c t_c w_c ln p_c, summed over the batch and divided by the sum of w at the labels.

    The target t gives eps = label_smoothing away. smoothing_form `uniform`: eps / C to every class, the label's too
    (as torch.nn.functional.cross_entropy); `others`: eps / (C - 1) to the other classes, 1 - eps to the label.
    label_smoothing -1: eps is adaptive_factor * p_y of each row, so that sure rows are smoothed most; to the gradient
    it is a constant (as in fast-reid).
    weight: w, (C,) class weights; 1 where not given. Each term keeps the weight of its own class c, while the
    mean divides by the weights of the labels, as in torch.
    Labels may be probabilities (N, C), which are smoothed as labels are; the mean divides by sum_nc t_nc w_c.
    Rows with label -1 are left out; without any other row the loss is 0 and its gradient zeros.
    Source of label smoothing: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016.
    """

    label_smoothing: float = option(
        0.0,
        "probability that is taken from the label and shared among classes, 0 to below 1. -1: for each"
        " image, adaptive_factor times the probability that the network gives its label",
    )
    smoothing_form: SmoothingForm = option(
        "uniform",
        "classes that share this probability. uniform: all classes, the label too. others: all classes but the label",
    )
    weight: Tensor | None = None
    adaptive_factor: float = option(0.2, "for label_smoothing=-1: the factor, 0 to below 1")

    def __post_init__(self) -> None:
        if not (0 <= self.label_smoothing < 1 or self.label_smoothing == ADAPTIVE):
            raise ValueError(
                f"label_smoothing={self.label_smoothing} must be at least 0 and below 1, usual is 0.1; or -1, which"
                " gives away adaptive_factor times the label's own probability"
            )
        if not 0 <= self.adaptive_factor < 1:
            raise ValueError(f"adaptive_factor={self.adaptive_factor} must be at least 0 and below 1; usual is 0.2")
        require_one_of("smoothing_form", self.smoothing_form, get_args(SmoothingForm))
        require_weight(self.weight)

    def losses(self, logits: Tensor, targets: Targets) -> Tensor:
        return targets.negative_log_likelihood(logits)

    def weighted_losses(self, logits: Tensor, targets: Targets) -> Tensor:
        if not self.label_smoothing:
            return super().weighted_losses(logits, targets)
        terms = log_likelihood = logits.log_softmax(1)
        if self.weight is not None:
            terms = terms * self.weight.to(terms)
        share = self._given_away(targets.at(log_likelihood)) / self._num_receivers(logits.shape[1])
        return -(1 - share * logits.shape[1]) * targets.at(terms) - share * terms.sum(1, keepdim=True)

    def _given_away(self, log_likelihood: Tensor) -> Tensor | float:
        """eps, of all rows or of each: (N, Y), from ln p of the Y classes."""
        if self.label_smoothing != ADAPTIVE:
            return self.label_smoothing
        return self.adaptive_factor * log_likelihood.detach().exp()

    def _num_receivers(self, num_classes: int) -> int:
        """How many classes share eps. In both forms the label gets 1 - share * num_classes besides."""
        if self.smoothing_form == "uniform":
            return num_classes
        if num_classes == 1:
            raise ValueError("smoothing_form='others' needs two classes at least: with one there is no other class")
        return num_classes - 1
