"""Which images make up each batch. `table.SAMPLERS` is the table of all samplers."""

from __future__ import annotations

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.data.samplers.groups import Groups
from shelfmark.data.samplers.options import SamplingOptions
from shelfmark.data.samplers.order import Draw, EpochOrder, rank_batches, rank_share
from shelfmark.data.samplers.plan import EpochPlan
from shelfmark.data.samplers.repeated import RepeatedOrder
from shelfmark.data.samplers.staged import StagedOrder
from shelfmark.data.samplers.table import SAMPLERS

__all__ = ["SAMPLERS", "Draw", "EpochOrder", "Groups", "SamplingOptions", "build_order", "rank_batches", "rank_share"]


def build_order(
    options: SamplingOptions,
    labels: np.ndarray,
    num_classes: int,
    batch_size: int,
    seed: int,
    *,
    num_epochs: int = 1,
    steps_per_epoch: int = 0,
    views: int = 1,
    weights: np.ndarray | None = None,
) -> EpochOrder:
    """The order of every epoch, by the sampler `options.type`, or by that of a stage of `options.stages` once it began.

    labels: (N,) int64, -1 for rows without a label, which are never drawn. batch_size: of all processes together.
    num_epochs: of the training. steps_per_epoch: 0 takes the number of labelled images divided by the batch size, with
    every sampler, so a switch of samplers changes neither the schedule nor the epoch's length. views: copies of each
    drawn image in its batch, which then has batch_size / views draws. weights: see `EpochPlan`.
    """
    assert batch_size % views == 0, "the recipe refuses it"
    num_draws = batch_size // views
    size_option = "train.batch_size" if views == 1 else "train.batch_size / augment.views"
    labels = np.asarray(labels, dtype=np.int64)
    if labels.max(initial=-1) >= num_classes:
        raise ValueError(f"label {labels.max()} must be below num_classes={num_classes}")
    num_labelled = int(np.count_nonzero(labels >= 0))
    if not num_labelled:
        raise UserError("the training set has no labelled image, so there is nothing to train on; see data.train_json.")
    if num_draws > num_labelled:
        raise UserError(
            f"{size_option}={num_draws} is larger than the training set, which has {num_labelled} labelled images;"
            f" take at most {num_labelled}."
        )
    num_batches = steps_per_epoch or num_labelled // num_draws
    plan = EpochPlan(options, labels, num_classes, num_batches, num_draws, seed, num_epochs, weights, size_option)
    order = SAMPLERS[options.type](plan)
    if options.stages:
        stages = [(stage.from_epoch, SAMPLERS[stage.type](plan)) for stage in options.stages]
        order = StagedOrder([(0, order), *stages])
    return order if views == 1 else RepeatedOrder(order, views)
