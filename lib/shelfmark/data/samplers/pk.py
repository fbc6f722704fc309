"""P classes of K images in every batch, for losses that compare images. Legend: S steps, B batch."""

from __future__ import annotations

import numpy as np

from shelfmark.core.errors import UserError, choose
from shelfmark.core.rng import numpy_generator
from shelfmark.data.samplers.decks import dealt_visits
from shelfmark.data.samplers.groups import Groups
from shelfmark.data.samplers.visits import spread_visits, visits_by_images

VISITS = ("equal", "by_images")


class PKOrder:
    """Each batch holds P = B / K distinct classes, K images of each, side by side.

    visits `equal`: classes come from shuffled cycles, cut into companies of P; what is left of a cycle is dropped, so
    every class is met about equally often and in new company each time. `by_images`: a class is met in proportion to
    its images, in batches and company drawn at random, so that an epoch of as many images as there are shows each
    about once. A class's images come from
    shuffled decks of its own, K at a time: within a batch they are distinct, and none comes again in
    an epoch before its deck is used up (less than K cards may stay behind). A class with fewer than
    K images repeats them within the batch, each time augmented anew.

    Classes with a single image form no pair of different images. They are left out, unless fewer than P
    classes have two; then every class that has an image takes part. `classes` holds those that do.

    size_option: what errors call the batch size.
    """

    def __init__(
        self,
        groups: Groups,
        num_batches: int,
        batch_size: int,
        seed: int,
        images_per_class: int,
        size_option: str = "train.batch_size",
        visits: str = "equal",
    ) -> None:
        if batch_size % images_per_class:
            raise UserError(
                f"sampling.images_per_class={images_per_class} does not divide {size_option}={batch_size};"
                " the pk sampler fills a batch with whole classes. Change one of them."
            )
        self.groups = groups
        self.num_batches = num_batches
        self.seed = seed
        self.images_per_class = images_per_class
        self.classes_per_batch = batch_size // images_per_class
        self.size_option = size_option
        self.visits = choose("sampling.visits", visits, VISITS)
        self.classes = self._classes()

    def rows(self, epoch: int) -> np.ndarray:
        generator = numpy_generator(self.seed, "sampler_pk", epoch)
        visits = self._companies(generator).ravel()
        return dealt_visits(self.groups, visits, self.images_per_class, generator).reshape(self.num_batches, -1)

    def _classes(self) -> np.ndarray:
        counts, wanted = self.groups.counts, self.classes_per_batch
        for fewest_images in (min(2, self.images_per_class), 1):
            classes = np.flatnonzero(counts >= fewest_images)
            if len(classes) >= wanted:
                return classes
        raise UserError(
            f"the pk sampler needs {self.size_option} / sampling.images_per_class = {wanted} classes in a batch,"
            f" but only {len(classes)} classes have training images. Lower {self.size_option} to at most"
            f" {len(classes) * self.images_per_class} or raise sampling.images_per_class."
        )

    def _companies(self, generator: np.random.Generator) -> np.ndarray:
        """The classes of each batch: (S, classes_per_batch)."""
        if self.visits == "by_images":
            counts = self.groups.counts[self.classes]
            shape = self.num_batches, self.classes_per_batch
            return self.classes[spread_visits(visits_by_images(counts, *shape, generator), *shape, generator)]
        batches_per_cycle = len(self.classes) // self.classes_per_batch
        num_cycles = -(-self.num_batches // batches_per_cycle)
        cycles = generator.permuted(np.tile(self.classes, (num_cycles, 1)), axis=1)
        used = cycles[:, : batches_per_cycle * self.classes_per_batch]
        return used.reshape(-1, self.classes_per_batch)[: self.num_batches]
