"""Base of the losses that are a softmax over cosines with classes. Legend: N batch, C classes, J proxies a class."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from shelfmark.losses.cross_entropy import CrossEntropy
from shelfmark.losses.loss import HeadOutput, Loss
from shelfmark.ops.labelled import LabelledRows, labelled_rows


class CosineSoftmax(Loss):
    """Cross-entropy of logits that a subclass makes of cosines. With J proxies a class the nearest of them counts.

    The mean is over the rows with a label; without any the loss is 0 and its gradient zeros.
    """

    adds_over_rows: ClassVar[bool] = True
    consumes: ClassVar[HeadOutput] = "cosines"

    def logits(self, cosine: Tensor, labels: Tensor) -> Tensor:
        """Logits (N, C), of which the label's may differ by a margin."""
        raise NotImplementedError

    def __call__(self, cosine: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """The loss of this batch alone: 0-dim, float64 for float64, else float32.

        cosine: (N, C) or (N, C, J). labels: (N,) whole numbers, -1 where there is none. step: no matter here.
        UserError: a row with a label that is not finite; on a GPU, which is not waited for, the loss is NaN instead.
        """
        return CrossEntropy().mean(self._with_logits(cosine, labels, raises=labels.device.type == "cpu"))

    def over_ranks(self, cosine: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """The loss of the batch of all processes, 0-dim: see `CrossEntropy.over_ranks`."""
        return CrossEntropy().mean_over_ranks(self._with_logits(cosine, labels, raises=False))

    def _with_logits(self, cosine: Tensor, labels: Tensor, raises: bool) -> LabelledRows:
        batch = labelled_cosines(cosine, labels, raises)
        return replace(batch, rows=self.logits(batch.rows, batch.labels))


def labelled_cosines(cosine: Tensor, labels: Tensor, raises: bool) -> LabelledRows:
    """The checked batch of a loss that takes cosines (N, C) or (N, C, J), with labels (N,): see `labelled_rows`."""
    if cosine.ndim not in (2, 3) or not cosine.shape[1] or not cosine.is_floating_point():
        raise ValueError(
            "cosines must be (rows, classes) or (rows, classes, proxies) of floats,"
            f" not {cosine.dtype} {tuple(cosine.shape)}"
        )
    return labelled_rows(cosine, labels, "cosines", cosine.shape[1], raises=raises)
