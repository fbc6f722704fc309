"""A class by its probability, then an image of it: power-weighted, progressive and reverse sampling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from shelfmark.core.rng import numpy_generator
from shelfmark.data.samplers.groups import Groups
from shelfmark.data.samplers.plan import EpochPlan, PlannedOrder
from shelfmark.data.samplers.shuffle import shuffled_within
from shelfmark.ops.longtail import reverse_probabilities, sampling_probabilities


class ClassWeightedOrder(PlannedOrder):
    """Independent draws of classes; a class's draws of an epoch are spread over its images evenly.

    probabilities: of an epoch, (C,), 0 for a class without images. An image is drawn a second time in an epoch only
    when its class has no image left that was not drawn, so n draws of a class with n images are distinct.

    Independent draws in a random order are the same as a multinomial count for each class, with the images in a random
    order: that takes two passes over the images where a draw at a time takes a search each.
    """

    def __init__(self, plan: EpochPlan, probabilities: Callable[[int], Tensor], role: str) -> None:
        super().__init__(plan)
        self.probabilities = probabilities
        self.role = role

    def rows(self, epoch: int) -> np.ndarray:
        generator = numpy_generator(self.plan.seed, f"sampler_{self.role}", epoch)
        probabilities = self.probabilities(epoch).double().numpy()
        rows = _drawn(self.plan.groups, generator.multinomial(self.plan.num_draws, probabilities), generator)
        generator.shuffle(rows)
        return self.plan.batches(rows)


def class_balanced(plan: EpochPlan) -> ClassWeightedOrder:
    """Every class with the same probability."""
    return _constant(plan, sampling_probabilities(plan.groups.counts, power=0.0), "class_balanced")


def power_weighted(plan: EpochPlan) -> ClassWeightedOrder:
    """A class in proportion to count ** sampling.power."""
    return _constant(plan, sampling_probabilities(plan.groups.counts, power=plan.options.power), "power")


def progressive(plan: EpochPlan) -> ClassWeightedOrder:
    """A class's probability moves from instance sampling in the first epoch to class-balanced sampling in the last."""
    counts, last_epoch = plan.groups.counts, max(1, plan.num_epochs - 1)
    return ClassWeightedOrder(
        plan, lambda epoch: sampling_probabilities(counts, progress=min(1.0, epoch / last_epoch)), "progressive"
    )


def reverse(plan: EpochPlan) -> ClassWeightedOrder:
    """The fewer images a class has, the greater its probability, see `reverse_probabilities`."""
    return _constant(plan, reverse_probabilities(plan.groups.counts), "reverse")


def _constant(plan: EpochPlan, probabilities: Tensor, role: str) -> ClassWeightedOrder:
    return ClassWeightedOrder(plan, lambda epoch: probabilities, role)


def _drawn(groups: Groups, num_draws: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """`num_draws[c]` rows of each class: all its images as often as they fit, and a random part of them."""
    num_passes, num_extra = np.divmod(num_draws, np.maximum(groups.counts, 1))
    shuffled = shuffled_within(groups.classes, generator)
    place_in_class = np.arange(len(groups)) - groups.starts[groups.classes]
    is_extra = place_in_class < num_extra[groups.classes]
    whole_passes = np.repeat(groups.rows, num_passes[groups.classes])
    return np.concatenate([whole_passes, groups.rows[shuffled[is_extra]]])
