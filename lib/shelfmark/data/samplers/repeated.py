"""Several views of each drawn image. Legend: S steps of an epoch, B batch, V views of an image."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from shelfmark.data.samplers.order import Drawn, EpochOrder, drawn_batches, place_among_equals


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

    def drawn(self, epoch: int, start_step: int = 0) -> Iterator[Drawn]:
        for batch in drawn_batches(self.order, epoch, start_step):
            # The copies of a row that stands in the batch several times follow each other, view after view.
            _, number, times = np.unique(batch.rows, return_inverse=True, return_counts=True)
            earlier_in_batch = place_among_equals(batch.rows)
            before = self.views * (batch.occurrences - earlier_in_batch) + earlier_in_batch
            views = before + np.arange(self.views)[:, None] * times[number]
            yield Drawn(np.tile(batch.rows, self.views), views.ravel())
