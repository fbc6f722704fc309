"""Every image once an epoch."""

from __future__ import annotations

import numpy as np

from shelfmark.core.rng import numpy_generator
from shelfmark.data.samplers.plan import PlannedOrder


class InstanceOrder(PlannedOrder):
    """A shuffled pass over the labelled images; what does not fill the last batch is left out.

    Where the plan asks for more images than there are, further shuffled passes follow the first.
    """

    def rows(self, epoch: int) -> np.ndarray:
        generator = numpy_generator(self.plan.seed, "sampler_instance", epoch)
        images = self.plan.groups.rows
        num_passes = -(-self.plan.num_draws // len(images))
        return self.plan.batches(np.concatenate([generator.permutation(images) for _ in range(num_passes)]))
