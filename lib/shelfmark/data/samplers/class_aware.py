"""Class after class in shuffled cycles. Legend: S steps of an epoch, B batch, C classes."""

from __future__ import annotations

import numpy as np

from shelfmark.core.rng import numpy_generator
from shelfmark.data.samplers.decks import dealt_visits
from shelfmark.data.samplers.groups import Groups


class ClassAwareOrder:
    """Every class that has images once a cycle, K images of it in a row; the images come from shuffled decks.

    Unlike independent draws of classes, no class is met twice before all others were, and none is left out by chance.
    Source: the class-aware sampler of Kang et al. 2020, whose epoch of (largest class) * C images is cut to S * B here.
    """

    def __init__(self, groups: Groups, num_batches: int, batch_size: int, seed: int, images_per_class: int) -> None:
        self.groups = groups
        self.num_batches = num_batches
        self.batch_size = batch_size
        self.seed = seed
        self.images_per_class = images_per_class
        self.classes = np.flatnonzero(groups.counts)

    def rows(self, epoch: int) -> np.ndarray:
        generator = numpy_generator(self.seed, "sampler_class_aware", epoch)
        num_draws = self.num_batches * self.batch_size
        num_visits = -(-num_draws // self.images_per_class)
        num_cycles = -(-num_visits // len(self.classes))
        cycles = generator.permuted(np.tile(self.classes, (num_cycles, 1)), axis=1)
        rows = dealt_visits(self.groups, cycles.ravel()[:num_visits], self.images_per_class, generator)
        return rows.ravel()[:num_draws].reshape(self.num_batches, self.batch_size)
