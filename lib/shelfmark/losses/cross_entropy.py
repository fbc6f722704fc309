"""Cross-entropy with label smoothing and class weights. Legend: N batch, C classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from shelfmark.core.errors import nearest
from shelfmark.losses.config import LossConfig, LossContext

SmoothingForm = Literal["uniform", "others"]
_UNLABELLED = -1


@dataclass(frozen=True, eq=False)
class CrossEntropy:
    """-sum_c t_c w_c ln p_c, summed over the batch and divided by the sum of w at the labels.

    The target t gives eps = label_smoothing away. smoothing_form `uniform`: eps / C to every class, the label's too
    (as torch.nn.functional.cross_entropy); `others`: eps / (C - 1) to the other classes, 1 - eps to the label.
    weight: w, (C,) class weights; 1 where not given. Each term keeps the weight of its own class c, while the
    mean divides by the weights of the labels, as in torch.
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
        if self.weight is not None:
            _check_weight(self.weight)

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """logits: (N, C). labels: (N,) int64, -1 where there is none. 0-dim, float64 for float64, else float32."""
        num_classes = _num_classes(logits, labels, self.weight)
        logits = logits.to(torch.float64 if logits.dtype == torch.float64 else torch.float32)
        weight = None if self.weight is None else self.weight.to(logits)
        with torch.autocast(logits.device.type, enabled=False):
            log_probabilities = logits.log_softmax(1)
            at_label = F.nll_loss(log_probabilities, labels, weight, ignore_index=_UNLABELLED, reduction="sum")
            total_weight = _weight_of_labels(labels, weight, logits)
            if not self.label_smoothing:
                return at_label / total_weight
            share = self._share(num_classes)
            of_rows = (log_probabilities if weight is None else log_probabilities * weight).sum(1)
            at_all = -torch.where(labels == _UNLABELLED, 0, of_rows).sum()
            return ((1 - share * num_classes) * at_label + share * at_all) / total_weight

    def _share(self, num_classes: int) -> float:
        """What each class gets of label_smoothing. The label gets 1 - share * num_classes besides, in both forms."""
        if self.smoothing_form == "uniform":
            return self.label_smoothing / num_classes
        if num_classes == 1:
            raise ValueError("smoothing_form='others' needs two classes at least: with one there is no other class")
        return self.label_smoothing / (num_classes - 1)


@dataclass(frozen=True, kw_only=True)
class CrossEntropyConfig(LossConfig):
    """`{name: cross_entropy}`"""

    name: Literal["cross_entropy"] = "cross_entropy"
    head: str = "classifier"
    label_smoothing: float = 0.0
    """what the target gives away, 0 to below 1"""
    smoothing_form: SmoothingForm = "uniform"
    """uniform: to all classes, the label too; others: to the other classes"""

    def __post_init__(self) -> None:
        super().__post_init__()
        CrossEntropy(self.label_smoothing, self.smoothing_form)

    def build(self, context: LossContext) -> CrossEntropy:
        return CrossEntropy(self.label_smoothing, self.smoothing_form)


def _weight_of_labels(labels: Tensor, weight: Tensor | None, like: Tensor) -> Tensor:
    is_labelled = labels != _UNLABELLED
    if weight is None:
        return is_labelled.sum().clamp_min(1).to(like.dtype)
    total = torch.where(is_labelled, weight[labels.clamp_min(0)], 0).sum()
    # Only rows without weight: their sum above is 0 too, and so is the loss.
    return torch.where(total > 0, total, 1)


def _check_weight(weight: Tensor) -> None:
    if weight.ndim != 1:
        raise ValueError(f"weight must be (classes,), not {tuple(weight.shape)}")
    if not bool(weight.isfinite().all()) or bool((weight < 0).any()):
        raise ValueError("weight: class weights must be finite and not negative")


def _num_classes(logits: Tensor, labels: Tensor, weight: Tensor | None) -> int:
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"logits must be (rows, classes) and labels (rows,), not {tuple(logits.shape)} and {tuple(labels.shape)}"
        )
    num_classes = logits.shape[1]
    if weight is not None and len(weight) != num_classes:
        raise ValueError(f"weight has {len(weight)} class weights, the logits have {num_classes} classes")
    # Labels on a GPU are left unread: it would stall the step.
    if labels.device.type == "cpu" and len(labels) and not -1 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f"labels lie in {int(labels.min())}..{int(labels.max())}; {num_classes} classes allow -1..{num_classes - 1}"
        )
    return num_classes
