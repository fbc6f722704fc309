"""P classes of K images in every batch, for losses that compare images. Legend: S steps of an epoch."""

from __future__ import annotations

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.rng import numpy_generator
from shelfmark.data.samplers.class_visits import images_of_visits
from shelfmark.data.samplers.plan import EpochPlan, PlannedOrder
from shelfmark.data.samplers.visits import spread_visits, visits_by_count


class PKOrder(PlannedOrder):
    """Each batch holds P = B / K distinct classes, K images of each, side by side.

    sampling.class_weighting `uniform`: the classes are permuted again and again, and each permutation is cut into
    batches of P classes; a shorter rest is dropped. So every class is in about equally many batches, beside other
    classes each time. `by_count`: a class is in batches in proportion to its images, drawn at random, so that an epoch
    of as many images as there are shows each image about once.

    `images_of_visits` says which images a class gives: within a batch they are distinct. A class with fewer than K
    images repeats them within the batch, each time augmented anew.

    Classes with a single image form no pair of different images. They are left out, unless fewer than P classes have
    two images; then every class that has an image takes part. `classes` holds the classes that take part.
    """

    def __init__(self, plan: EpochPlan) -> None:
        super().__init__(plan)
        self.images_per_class = plan.options.images_per_class
        if plan.batch_size % self.images_per_class:
            raise UserError(
                f"sampling.images_per_class={self.images_per_class} does not divide"
                f" {plan.size_option}={plan.batch_size}; the pk sampler fills a batch with whole classes."
                " Change one of them."
            )
        self.classes_per_batch = plan.batch_size // self.images_per_class
        self.classes = self._classes()

    def rows(self, epoch: int) -> np.ndarray:
        generator = numpy_generator(self.plan.seed, "sampler_pk", epoch)
        visits = self._classes_of_batches(generator).ravel()
        return self.plan.batches(images_of_visits(self.plan.groups, visits, self.images_per_class, generator).ravel())

    def _classes(self) -> np.ndarray:
        counts, wanted, size_option = self.plan.groups.counts, self.classes_per_batch, self.plan.size_option
        for fewest_images in (min(2, self.images_per_class), 1):
            classes = np.flatnonzero(counts >= fewest_images)
            if len(classes) >= wanted:
                return classes
        raise UserError(
            f"the pk sampler needs {size_option} / sampling.images_per_class = {wanted} classes in a batch,"
            f" but only {len(classes)} classes have training images. Lower {size_option} to at most"
            f" {len(classes) * self.images_per_class} or raise sampling.images_per_class."
        )

    def _classes_of_batches(self, generator: np.random.Generator) -> np.ndarray:
        """The classes of each batch: (S, classes a batch)."""
        num_batches, classes_per_batch = self.plan.num_batches, self.classes_per_batch
        if self.plan.options.class_weighting == "by_count":
            counts = self.plan.groups.counts[self.classes]
            visits = visits_by_count(counts, num_batches, classes_per_batch, generator)
            return self.classes[spread_visits(visits, num_batches, classes_per_batch, generator)]
        batches_per_cycle = len(self.classes) // classes_per_batch
        num_cycles = -(-num_batches // batches_per_cycle)
        cycles = generator.permuted(np.tile(self.classes, (num_cycles, 1)), axis=1)
        used = cycles[:, : batches_per_cycle * classes_per_batch]
        return used.reshape(-1, classes_per_batch)[:num_batches]
