"""The optimizer and the learning rate of a recipe."""

from __future__ import annotations

import torch

from shelfmark.models.backbones.layers import layers_below_the_top
from shelfmark.models.network import Network
from shelfmark.optim import LearningRate, StagedRate, build_optimizer, parameter_groups
from shelfmark.recipe.tree import Recipe


def optimizer(recipe: Recipe, network: Network) -> torch.optim.Optimizer:
    """The optimizer over everything that is not frozen."""
    layers = layers_below_the_top(network.backbone) if recipe.optim.layer_decay != 1 else None
    return build_optimizer(recipe.optim, parameter_groups(network, recipe.optim, layers))


def learning_rate(recipe: Recipe, steps_per_epoch: int) -> StagedRate:
    """The learning rate as a function of the step: each stage's schedule, from its beginning to its end."""
    train, optim = recipe.train, recipe.optim
    begins = [0, *(stage.from_epoch for stage in train.stages)]
    ends = [*begins[1:], train.num_epochs]
    plans = [(optim.lr, optim.schedule), *((stage.lr or optim.lr, stage.schedule) for stage in train.stages)]
    return StagedRate(
        tuple(
            (begin * steps_per_epoch, LearningRate(lr, schedule, steps_per_epoch, end - begin))
            for begin, end, (lr, schedule) in zip(begins, ends, plans)
        )
    )
