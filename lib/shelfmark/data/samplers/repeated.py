"""Several views of each drawn image. Legend: S steps of an epoch, B batch, V views of an image."""

from __future__ import annotations

import numpy as np

from shelfmark.data.samplers.order import EpochOrder


class RepeatedOrder:
    """The batches of another order, each V times in a row as one batch: (S, B / V) to (S, B).

    Each view is a new occurrence of its row, so it is augmented anew. The batch holds all its images once before it
    repeats them: on V processes each process's part of the batch, and so its batch norms, has distinct images.
    Source: Hoffer et al., "Augment Your Batch: Improving Generalization Through Instance Repetition", CVPR 2020.
    """

    def __init__(self, order: EpochOrder, views: int) -> None:
        self.order = order
        self.views = views

    @property
    def num_batches(self) -> int:
        return self.order.num_batches

    def rows(self, epoch: int) -> np.ndarray:
        return np.tile(self.order.rows(epoch), (1, self.views))
