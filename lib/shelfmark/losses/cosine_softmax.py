"""Base of the losses that are a softmax over cosines with classes. Legend: N batch, C classes, K proxies a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from shelfmark.losses.config import LossConfig, Takes
from shelfmark.losses.cross_entropy import CrossEntropy


class CosineSoftmax:
    """Cross-entropy of logits that a subclass makes of cosines. With K proxies a class the nearest of them counts.

    The mean is over the rows with a label; without any the loss is 0 and its gradient zeros.
    """

    def logits(self, cosine: Tensor, labels: Tensor) -> Tensor:
        """Logits (N, C), of which the label's may differ by a margin."""
        raise NotImplementedError

    def __call__(self, cosine: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """The loss of this batch alone: 0-dim, float64 for float64, else float32.

        cosine: (N, C) or (N, C, K). labels: (N,) int64, -1 where there is none. step: no matter here.
        """
        return CrossEntropy()(self.logits(cosine, labels), labels)

    def over_ranks(self, cosine: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """The loss of the batch of all processes, 0-dim: see `CrossEntropy.over_ranks`."""
        return CrossEntropy().over_ranks(self.logits(cosine, labels), labels)


@dataclass(frozen=True, kw_only=True)
class CosineSoftmaxConfig(LossConfig):
    """An entry whose loss is a `CosineSoftmax`."""

    takes: ClassVar[Takes] = "cosines"
