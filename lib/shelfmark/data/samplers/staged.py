"""Samplers that take turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from shelfmark.data.samplers.order import Drawn, EpochOrder, drawn_batches


class StagedOrder:
    """In each epoch the last stage that has begun rules, so a resume lands in the right one by itself.

    stages: (first epoch, order), the first of them from epoch 0. All have the same number of batches.
    """

    def __init__(self, stages: Sequence[tuple[int, EpochOrder]]) -> None:
        self.stages = sorted(stages, key=lambda stage: stage[0])
        assert self.stages[0][0] == 0, "an epoch before the first stage has no order"

    @property
    def num_batches(self) -> int:
        return self.stages[0][1].num_batches

    def rows(self, epoch: int) -> np.ndarray:
        return self.ruling(epoch).rows(epoch)

    def drawn(self, epoch: int, start_step: int = 0) -> Iterator[Drawn]:
        return drawn_batches(self.ruling(epoch), epoch, start_step)

    def ruling(self, epoch: int) -> EpochOrder:
        """The order of the stage that this epoch belongs to."""
        return [order for first_epoch, order in self.stages if first_epoch <= epoch][-1]
