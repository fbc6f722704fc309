"""Every image once an epoch."""

from __future__ import annotations

import numpy as np

from shelfmark.core.rng import numpy_generator
from shelfmark.data.samplers.groups import Groups


class InstanceOrder:
    """A shuffled pass over the labelled images; what does not fill the last batch is left out.

    Where `num_batches` asks for more images than there are, further shuffled passes follow the first.
    """

    def __init__(self, groups: Groups, num_batches: int, batch_size: int, seed: int) -> None:
        self.groups = groups
        self.num_batches = num_batches
        self.batch_size = batch_size
        self.seed = seed

    def rows(self, epoch: int) -> np.ndarray:
        generator = numpy_generator(self.seed, "sampler_instance", epoch)
        num_draws = self.num_batches * self.batch_size
        num_passes = -(-num_draws // len(self.groups))
        passes = [generator.permutation(self.groups.rows) for _ in range(num_passes)]
        return np.concatenate(passes)[:num_draws].reshape(self.num_batches, self.batch_size)
