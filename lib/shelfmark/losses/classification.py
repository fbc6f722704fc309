"""Losses of a classifier's logits, row by row. Legend: N batch, C classes, Y classes that a row's target names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from shelfmark.core import dist
from shelfmark.core.contracts import UNLABELLED
from shelfmark.losses.loss import HeadOutput, Loss
from shelfmark.ops.labelled import LabelledRows, labelled_rows
from shelfmark.ops.similarity import compute_dtype


@dataclass(frozen=True)
class Targets:
    """What the rows of a batch should be: one class each (Y = 1), or so much of every class (Y = C).

    share: (N, Y), what the Y classes have of a row; it sums to 1, or is 0 in a row without label.
    labels: (N, 1) int64, the class of each row, 0 where there is none; None for Y = C.
    step: of the optimizer. first_row: where the rows begin in the global batch. The two decide random draws.
    """

    share: Tensor
    labels: Tensor | None
    step: int
    first_row: int

    def at(self, values: Tensor) -> Tensor:
        """The values of the Y classes: (N, C) to (N, Y), and (C,) to what multiplies with (N, Y)."""
        if self.labels is None:
            return values
        return values[self.labels] if values.ndim == 1 else values.gather(1, self.labels)

    def negative_log_likelihood(self, logits: Tensor) -> Tensor:
        """-ln p of the Y classes, with p the softmax of the logits: (N, C) to (N, Y)."""
        return -self.at(logits.log_softmax(1))


class ClassificationLoss(Loss):
    """Base: sum_nk t_nk w_k l_nk / sum_nk t_nk w_k, with t the targets, w the class weights and l what `losses` says.

    So with labels the mean over rows divides by the batch's sum of the weights at the labels. Rows without label are
    left out; where nothing else has a weight the loss is 0 and its gradient zeros.
    """

    consumes: ClassVar[HeadOutput] = "logits"
    takes_probabilities: ClassVar[bool] = True
    adds_over_rows: ClassVar[bool] = True
    default_head: ClassVar[str] = "classifier"
    weight: Tensor | None
    """w: (C,) class weights, finite and not negative; None is 1 for all."""

    def losses(self, logits: Tensor, targets: Targets) -> Tensor:
        """What each row costs if it is of class k: (N, C) to (N, Y)."""
        raise NotImplementedError

    def weighted_losses(self, logits: Tensor, targets: Targets) -> Tensor:
        """w_k l_nk: (N, C) to (N, Y)."""
        losses = self.losses(logits, targets)
        return losses if self.weight is None else targets.at(self.weight.to(losses)) * losses

    def __call__(self, logits: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """The loss of this batch alone: 0-dim, float64 for float64, else float32, whatever autocast says.

        logits: (N, C). labels: (N,) whole numbers, -1 where there is none; or (N, C) floats, the probabilities of the
        classes, all 0 where there is no label. step: of the optimizer, for losses that draw at random.
        UserError: a row with a label that is not finite; on a GPU, which is not waited for, the loss is NaN instead.
        """
        return self.mean(self._labelled(logits, labels, raises=labels.device.type == "cpu"), step)

    def over_ranks(self, logits: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """The loss of the batch of all processes, 0-dim, the same on each; logits and labels are this one's part.

        Its gradient keeps the rule of `shelfmark.core.dist`. Where a row with a label is not finite, on any process,
        the loss is NaN on each.
        """
        return self.mean_over_ranks(self._labelled(logits, labels, raises=False), step)

    def divisor(self, labels: Tensor, step: int = 0) -> Tensor:
        """The sum of the weights at the labels, sum_nk t_nk w_k: 0-dim float64."""
        if labels.is_floating_point():
            share = labels.double()
            return (share if self.weight is None else share * self.weight.to(share)).sum()
        counted = (labels != UNLABELLED).double()
        if self.weight is None:
            return counted.sum()
        return (counted * self.weight.to(counted)[labels.clamp(0, len(self.weight) - 1)]).sum()

    def mean(self, batch: LabelledRows, step: int = 0) -> Tensor:
        """The call, for logits that are checked."""
        total, weight = self._sums(batch, step)
        return total / _divisor(weight)

    def mean_over_ranks(self, batch: LabelledRows, step: int = 0) -> Tensor:
        """`over_ranks`, for logits that are checked."""
        if dist.world_size() == 1:
            return self.mean(batch, step)
        total, weight = self._sums(batch, step, self.first_row(batch.labels))
        return dist.sum_of_parts(total / _divisor(dist.sum_over_ranks(weight)))

    def first_row(self, labels: Tensor) -> int:
        """Where this process's rows begin in the global batch; without random draws nobody needs to be asked."""
        return 0

    def _labelled(self, logits: Tensor, labels: Tensor, raises: bool) -> LabelledRows:
        self._require_fitting(logits, labels)
        return labelled_rows(logits, labels, "logits", logits.shape[1], raises=raises, takes_probabilities=True)

    def _sums(self, batch: LabelledRows, step: int, first_row: int = 0) -> tuple[Tensor, Tensor]:
        """The sum over rows of the weighted losses, and that of the weights; 0-dim."""
        logits, labels = batch.rows.to(compute_dtype(batch.rows)), batch.labels
        with torch.autocast(logits.device.type, enabled=False):
            targets = _targets(labels, logits, step, first_row)
            total = (targets.share * self.weighted_losses(logits, targets)).sum()
            weight = 1 if self.weight is None else targets.at(self.weight.to(logits))
            return total * batch.soundness, (targets.share * weight).sum().detach()

    def _require_fitting(self, logits: Tensor, labels: Tensor) -> None:
        is_soft = labels.is_floating_point()
        if is_soft and not self.takes_probabilities:
            raise ValueError(f"{type(self).__name__} takes labels (rows,) of whole numbers, not probabilities")
        if logits.ndim != 2 or labels.shape != (logits.shape if is_soft else logits.shape[:1]):
            raise ValueError(
                "logits must be (rows, classes) and labels (rows,) or, as probabilities, (rows, classes),"
                f" not {tuple(logits.shape)} and {labels.dtype} {tuple(labels.shape)}"
            )
        for name, what in (("counts", "class counts"), ("weight", "class weights")):
            given = getattr(self, name, None)
            if given is not None and len(given) != logits.shape[1]:
                raise ValueError(f"{name} has {len(given)} {what}, the logits have {logits.shape[1]} classes")
        if is_soft:
            _require_probabilities(labels)


def require_weight(weight: Tensor | None) -> None:
    """Raises a ValueError unless these can be class weights."""
    if weight is None:
        return
    if weight.ndim != 1:
        raise ValueError(f"weight must be (classes,), not {tuple(weight.shape)}")
    if not bool(weight.isfinite().all()) or bool((weight < 0).any()):
        raise ValueError("weight: class weights must be finite and not negative")


def _targets(labels: Tensor, logits: Tensor, step: int, first_row: int) -> Targets:
    if labels.is_floating_point():
        return Targets(labels.to(logits), None, step, first_row)
    column = labels[:, None]
    return Targets((column != UNLABELLED).to(logits), column.clamp_min(0), step, first_row)


def _divisor(weight: Tensor) -> Tensor:
    # Without any weight the total is 0 as well.
    return torch.where(weight > 0, weight, 1)


_SUM_TOLERANCE = 0.01  # bfloat16 has steps of 0.004 below 1


def _require_probabilities(labels: Tensor) -> None:
    # Labels on a GPU are left unread: it would stall the step.
    if labels.device.type != "cpu":
        return
    sums = labels.double().sum(1)
    is_whole = ((sums - 1).abs() <= _SUM_TOLERANCE) | (sums == 0)
    if not bool(is_whole.all()) or bool((labels < 0).any()):
        raise ValueError("labels as probabilities must be 0 or above and sum to 1 in a row, or to 0 without label")
