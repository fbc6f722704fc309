"""Centre loss: each vector's distance from its class's centre. Legend: N batch, C classes, J centres, D embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from shelfmark.core import dist
from shelfmark.core.contracts import UNLABELLED
from shelfmark.losses.loss import HeadOutput, Loss
from shelfmark.ops.labelled import labelled_rows
from shelfmark.ops.proxies import require_proxies
from shelfmark.ops.similarity import compute_dtype


@dataclass(frozen=True)
class CenterLoss(Loss):
    """Half the squared distance of a vector from the centre of its class: of J centres, the nearest.

    Vectors and centres count as they are: a proxy head gives vectors of length 1, and its centres, of any length, come
    to the classes' means. Alone it lets all classes fall together; give a loss that parts them beside it.
    The mean is over the rows with a label; without any the loss is 0. See docs/losses.md.
    Source: Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", ECCV 2016, eq. 2, where
    it is a sum over the rows and the centres have a learning rate of their own.
    """

    adds_over_rows: ClassVar[bool] = True
    consumes: ClassVar[HeadOutput] = "proxies"

    def __call__(self, vectors: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
        """0-dim. vectors: (N, D). weight: (C, J, D). labels: (N,) whole numbers, -1 where there is none.

        UserError: a row with a label that is not finite; on a GPU, which is not waited for, the loss is NaN instead.
        """
        total, num_rows = self._sums(vectors, labels, weight, raises=labels.device.type == "cpu")
        return total / num_rows.clamp_min(1)

    def over_ranks(self, vectors: Tensor, labels: Tensor, weight: Tensor, step: int = 0) -> Tensor:
        """The loss of the batch of all processes, 0-dim: see `LossFunction.over_ranks`."""
        total, num_rows = self._sums(vectors, labels, weight, raises=False)
        return dist.sum_of_parts(total / dist.sum_over_ranks(num_rows).clamp_min(1))

    def _sums(self, vectors: Tensor, labels: Tensor, weight: Tensor, raises: bool) -> tuple[Tensor, Tensor]:
        """The sum over labelled rows, and how many there are; 0-dim."""
        require_proxies(vectors, weight)
        batch = labelled_rows(vectors, labels, "vectors", len(weight), raises=raises)
        dtype = compute_dtype(vectors)
        # Only the labels' centres: (N, J, D).
        offsets = batch.rows.to(dtype)[:, None] - weight[batch.labels.clamp_min(0)].to(dtype)
        distances = offsets.square().sum(2).amin(1)
        is_labelled = batch.labels != UNLABELLED
        return torch.where(is_labelled, distances, 0).sum() / 2 * batch.soundness, is_labelled.sum()
