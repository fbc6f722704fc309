"""Centre loss: each vector's distance from its class's centre. Legend: N batch, C classes, K centres, D embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from shelfmark.core import dist
from shelfmark.losses.config import LossConfig, LossContext, Takes
from shelfmark.ops.proxies import require_class_labels, require_proxies
from shelfmark.ops.similarity import compute_dtype


@dataclass(frozen=True)
class CenterLoss:
    """Half the squared distance of vectors from the centre of their class, the nearest of K.

    Vectors and centres count as they are: a proxy head gives vectors of length 1, and its centres, of any length, come
    to the classes' means. Alone it lets all classes fall together; give a loss that parts them beside it.
    The mean is over the rows with a label; without any the loss is 0. See docs/losses.md.
    Source: Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", ECCV 2016, eq. 2, where
    it is a sum over the rows and the centres have a learning rate of their own.
    """

    def __call__(self, vectors: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
        """vectors: (N, D). weight: (C, K, D). labels: (N,) int64, -1 where there is none. 0-dim."""
        total, num_rows = self._sums(vectors, labels, weight)
        return total / num_rows.clamp_min(1)

    def over_ranks(self, vectors: Tensor, labels: Tensor, weight: Tensor, step: int = 0) -> Tensor:
        """The loss of the batch of all processes, 0-dim, with the gradient of `dist.sum_of_parts`."""
        total, num_rows = self._sums(vectors, labels, weight)
        return dist.sum_of_parts(total / dist.sum_over_ranks(num_rows).clamp_min(1))

    def _sums(self, vectors: Tensor, labels: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The sum over labelled rows, and how many there are; 0-dim."""
        require_proxies(vectors, weight)
        require_class_labels(labels, len(vectors), len(weight))
        dtype = compute_dtype(vectors)
        # Only the labels' centres: (N, K, D).
        offsets = vectors.to(dtype)[:, None] - weight[labels.clamp_min(0)].to(dtype)
        distances = offsets.square().sum(2).amin(1)
        is_labelled = labels != -1
        return torch.where(is_labelled, distances, 0).sum() / 2, is_labelled.sum()


@dataclass(frozen=True, kw_only=True)
class CenterConfig(LossConfig):
    """`{name: center, head: ...}`"""

    takes: ClassVar[Takes] = "proxies"

    name: Literal["center"] = "center"

    def build(self, context: LossContext) -> CenterLoss:
        return CenterLoss()
