"""A class by its probability, then an image of it: power-weighted, progressive and reverse sampling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from shelfmark.core.rng import numpy_generator
from shelfmark.data.samplers.groups import Groups
from shelfmark.data.samplers.shuffle import shuffled_within


class ClassWeightedOrder:
    """Independent draws of classes; a class's draws of an epoch are spread over its images evenly.

    probabilities: of an epoch, (C,), 0 for a class without images. An image is drawn a second time in an epoch only
    when its class has no image left that was not drawn, so n draws of a class with n images are distinct.

    Independent draws in a random order are the same as a multinomial count for each class, dealt out
    and shuffled: that takes two passes over the images where a draw at a time takes a search each.
    """

    def __init__(
        self,
        groups: Groups,
        probabilities: Callable[[int], Tensor],
        num_batches: int,
        batch_size: int,
        seed: int,
        role: str,
    ) -> None:
        self.groups = groups
        self.probabilities = probabilities
        self.num_batches = num_batches
        self.batch_size = batch_size
        self.seed = seed
        self.role = role

    def rows(self, epoch: int) -> np.ndarray:
        generator = numpy_generator(self.seed, f"sampler_{self.role}", epoch)
        probabilities = self.probabilities(epoch).double().numpy()
        num_draws = generator.multinomial(self.num_batches * self.batch_size, probabilities)
        rows = _dealt(self.groups, num_draws, generator)
        generator.shuffle(rows)
        return rows.reshape(self.num_batches, self.batch_size)


def _dealt(groups: Groups, num_draws: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """`num_draws[c]` rows of each class: all its images as often as they fit, and a random part of them."""
    num_passes, num_extra = np.divmod(num_draws, np.maximum(groups.counts, 1))
    shuffled = shuffled_within(groups.classes, generator)
    place_in_class = np.arange(len(groups)) - groups.starts[groups.classes]
    is_extra = place_in_class < num_extra[groups.classes]
    whole_passes = np.repeat(groups.rows, num_passes[groups.classes])
    return np.concatenate([whole_passes, groups.rows[shuffled[is_extra]]])
