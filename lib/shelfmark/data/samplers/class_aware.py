"""Class after class in shuffled cycles. Legend: S steps of an epoch, B batch, C classes."""

from __future__ import annotations

import numpy as np

from shelfmark.core.rng import numpy_generator
from shelfmark.data.samplers.class_visits import images_of_visits
from shelfmark.data.samplers.plan import PlannedOrder


class ClassAwareOrder(PlannedOrder):
    """Every class that has images once a cycle, K images of it in a row; see `images_of_visits` for which.

    Unlike independent draws of classes, no class is met twice before all others were, and none is left out by chance.
    Source: the class-aware sampler of Kang et al. 2020, whose epoch of (largest class) * C images is cut to S * B here.
    """

    def rows(self, epoch: int) -> np.ndarray:
        plan, images_per_class = self.plan, self.plan.options.images_per_class
        generator = numpy_generator(plan.seed, "sampler_class_aware", epoch)
        classes = np.flatnonzero(plan.groups.counts)
        num_visits = -(-plan.num_draws // images_per_class)
        num_cycles = -(-num_visits // len(classes))
        cycles = generator.permuted(np.tile(classes, (num_cycles, 1)), axis=1)
        rows = images_of_visits(plan.groups, cycles.ravel()[:num_visits], images_per_class, generator)
        return plan.batches(rows.ravel())
