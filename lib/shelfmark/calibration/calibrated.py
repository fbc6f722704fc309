"""The interface of every fitted method: logits from features, also for images that it has not learned from.

Legend: N images, C classes, D embedding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from shelfmark.core.types import Array
from shelfmark.ops.similarity import compute_dtype, dot_products

_BLOCK_LOGITS = 1 << 24  # The float32 logits of a block take 64 MB.


class Calibrated(ABC):
    """A fitted classifier. One that learned from validation images overrides `held_out`."""

    @abstractmethod
    def logits(self, features: Array) -> Tensor:
        """(n, C) float32, or float64 for a float64 classifier; -inf: a class that is never chosen. features: (n, D)."""

    def held_out(self, features: Array, labels: Array) -> Iterator[tuple[Tensor, Calibrated]]:
        """(rows, classifier) pairs: every labelled validation image once, with a classifier that never saw it.

        features (N, D) and labels (N,): the validation images, which are those of `fit` where it learned from such.
        """
        yield (torch.as_tensor(labels) >= 0).nonzero()[:, 0].cpu(), self


class Linear(Calibrated):
    """Logits features . weight_ + bias_.

    weight_: (C, D), or None where the features are logits already. bias_: (C,) or None.
    """

    weight_: Tensor | None
    bias_: Tensor | None

    def __init__(self, weight: Tensor | None, bias: Tensor | None = None) -> None:
        self.weight_ = weight
        self.bias_ = bias

    def logits(self, features: Array) -> Tensor:
        """(n, C) on the weight's device."""
        rows = torch.as_tensor(features)
        if self.weight_ is None:
            rows = rows.to(compute_dtype(rows))
        else:
            rows = dot_products(rows.to(self.weight_.device, compute_dtype(self.weight_)), self.weight_)
        return rows if self.bias_ is None else rows + self.bias_.to(rows)


def copied(weight: Tensor | None) -> Tensor | None:
    """A copy without gradient, which later training cannot change."""
    return None if weight is None else weight.detach().clone()


def rows_of(features: Array, rows: Tensor) -> Array:
    """features[rows], whatever kind of array holds them. rows: (n,) int64."""
    return features[rows.to(features.device)] if isinstance(features, Tensor) else features[rows.cpu().numpy()]


def blocks(num_rows: int, num_columns: int) -> Iterator[slice]:
    """Slices of rows whose (rows, num_columns) numbers are about 64 MB of float32."""
    size = max(1, _BLOCK_LOGITS // max(1, num_columns))
    for start in range(0, num_rows, size):
        yield slice(start, min(start + size, num_rows))
