"""Every image once an epoch, in an order that is never held. Legend: S steps of an epoch, B batch, N labelled rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from shelfmark.core.rng import derive_seed
from shelfmark.data.samplers.bijection import Bijection
from shelfmark.data.samplers.order import Drawn
from shelfmark.data.samplers.plan import EpochPlan, PlannedOrder


class KeyedOrder(PlannedOrder):
    """As `instance`, by a keyed bijection of each pass over the images: a batch is computed when it is read.

    Of 100 million images the order of `instance` takes 1.6 GB of memory in each process, and seconds; this one takes
    neither. Where every row has a label nothing is held at all, otherwise the numbers of the labelled rows.
    """

    def __init__(self, plan: EpochPlan) -> None:
        super().__init__(plan)
        self.num_rows = plan.num_labelled
        self._rows = None if self.num_rows == len(plan.labels) else np.flatnonzero(plan.labels >= 0)

    def rows(self, epoch: int) -> np.ndarray:
        """All batches at once, for those who want the whole epoch: (S, B)."""
        return np.stack([drawn.rows for drawn in self.drawn(epoch)])

    def drawn(self, epoch: int, start_step: int = 0) -> Iterator[Drawn]:
        passes: dict[int, Bijection] = {}
        size = self.plan.batch_size
        for step in range(start_step, self.plan.num_batches):
            places = np.arange(step * size, (step + 1) * size)
            number, place = np.divmod(places, self.num_rows)
            found = np.empty(size, dtype=np.int64)
            for one in np.unique(number).tolist():
                if one not in passes:
                    passes = {one: Bijection(self.num_rows, derive_seed(self.plan.seed, "sampler_keyed", epoch, one))}
                found[number == one] = passes[one](place[number == one])
            yield Drawn(found if self._rows is None else self._rows[found], number)
