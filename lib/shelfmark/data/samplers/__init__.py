"""Which images make up each batch. `build_order` is the table of all samplers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from shelfmark.core.errors import UserError, choose
from shelfmark.data.samplers.class_aware import ClassAwareOrder
from shelfmark.data.samplers.class_weighted import ClassWeightedOrder
from shelfmark.data.samplers.groups import Groups
from shelfmark.data.samplers.instance import InstanceOrder
from shelfmark.data.samplers.order import Draw, EpochOrder, rank_batches, rank_share
from shelfmark.data.samplers.pk import PKOrder
from shelfmark.data.samplers.repeated import RepeatedOrder
from shelfmark.data.samplers.staged import StagedOrder
from shelfmark.data.samplers.weighted import WeightedOrder
from shelfmark.ops.longtail import reverse_probabilities, sampling_probabilities

__all__ = ["SAMPLERS", "Draw", "EpochOrder", "Groups", "build_order", "rank_batches", "rank_share"]

SAMPLERS = ("instance", "class_balanced", "power", "progressive", "reverse", "class_aware", "pk", "weighted")


def build_order(
    name: str,
    labels: np.ndarray,
    num_classes: int,
    batch_size: int,
    seed: int,
    images_per_class: int = 4,
    steps_per_epoch: int = 0,
    stages: Sequence[tuple[int, str]] = (),
    power: float = 0.5,
    num_epochs: int = 1,
    views: int = 1,
    weights: np.ndarray | None = None,
    visits: str = "equal",
) -> EpochOrder:
    """The order of every epoch: the sampler `name`, and from epoch e on each (e, name) of `stages`.

    labels: (N,) int64, -1 for rows without a label, which are never drawn. batch_size: of all processes
    together. images_per_class: K of pk and class_aware. power: of `power`. num_epochs: over which `progressive`
    goes from instance sampling to class-balanced. steps_per_epoch: 0 takes as many whole batches as there are
    labelled images, with every sampler, so a switch changes neither the schedule nor the epoch's length.
    views: how often each drawn image stands in its batch, which so has batch_size / views distinct draws.
    weights: (N,) of `weighted`, 0 or more; None: all the same. visits: of pk.
    """
    assert batch_size % views == 0, "the recipe refuses it"
    num_draws = batch_size // views
    size_option = "train.batch_size" if views == 1 else "train.batch_size / augment.views"
    groups = Groups.of(labels, num_classes)
    if not len(groups):
        raise UserError("the training set has no labelled image, so there is nothing to train on; see data.train_json.")
    if num_draws > len(groups):
        raise UserError(
            f"{size_option}={num_draws} is larger than the training set, which has {len(groups)} labelled images;"
            f" take at most {len(groups)}."
        )
    num_batches = steps_per_epoch or len(groups) // num_draws

    def build(sampler: str) -> EpochOrder:
        match choose("sampling.type", sampler, SAMPLERS):
            case "instance":
                return InstanceOrder(groups, num_batches, num_draws, seed)
            case "class_aware":
                return ClassAwareOrder(groups, num_batches, num_draws, seed, images_per_class)
            case "pk":
                return PKOrder(groups, num_batches, num_draws, seed, images_per_class, size_option, visits)
            case "weighted":
                return WeightedOrder(groups, weights, num_batches, num_draws, seed)
            case _:
                probabilities = _class_probabilities(sampler, groups.counts, power, num_epochs)
                return ClassWeightedOrder(groups, probabilities, num_batches, num_draws, seed, sampler)

    order: EpochOrder = build(name)
    if stages:
        order = StagedOrder([(0, order), *((first_epoch, build(sampler)) for first_epoch, sampler in stages)])
    return order if views == 1 else RepeatedOrder(order, views)


def _class_probabilities(sampler: str, counts: np.ndarray, power: float, num_epochs: int) -> Callable[[int], Tensor]:
    """The probability of each class, as a function of the epoch."""
    if sampler == "progressive":
        last_epoch = max(1, num_epochs - 1)
        return lambda epoch: sampling_probabilities(counts, progress=min(1.0, epoch / last_epoch))
    if sampler == "reverse":
        fixed = reverse_probabilities(counts)
    else:
        fixed = sampling_probabilities(counts, power=power if sampler == "power" else 0.0)
    return lambda epoch: fixed
