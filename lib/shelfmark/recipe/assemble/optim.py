"""The optimizer and the learning rate of a recipe."""

from __future__ import annotations

import torch

from shelfmark.models import Network
from shelfmark.models.backbones.layers import layers_below_the_top
from shelfmark.optim import LearningRate, StagedRate, build_optimizer, parameter_groups
from shelfmark.recipe.tree import Recipe, Schedule


def optimizer(recipe: Recipe, network: Network) -> torch.optim.Optimizer:
    """The optimizer over everything that is not frozen."""
    optim = recipe.optim
    groups = parameter_groups(
        network,
        lr=optim.lr,
        weight_decay=optim.weight_decay,
        decay_norm_and_bias=optim.decay_norm_and_bias,
        head_lr_factor=optim.head_lr_factor,
        layer_decay=optim.layer_decay,
        layers=layers_below_the_top(network.backbone) if optim.layer_decay != 1 else None,
    )
    return build_optimizer(
        optim.name,
        groups,
        lr=optim.lr,
        momentum=optim.momentum,
        nesterov=optim.nesterov,
        betas=optim.betas,
        weight_decay=optim.weight_decay,
    )


def learning_rate(recipe: Recipe, steps_per_epoch: int) -> StagedRate:
    """The learning rate as a function of the step: each stage's schedule, from its beginning to its end."""
    train, optim = recipe.train, recipe.optim
    begins = [0, *(stage.from_epoch for stage in train.stages)]
    ends = [*begins[1:], train.num_epochs]
    plans = [(optim.lr, optim.schedule), *((stage.lr or optim.lr, stage.schedule) for stage in train.stages)]
    return StagedRate(
        tuple(
            (begin * steps_per_epoch, _rate(lr, schedule, steps_per_epoch, end - begin))
            for begin, end, (lr, schedule) in zip(begins, ends, plans)
        )
    )


def _rate(lr: float, schedule: Schedule, steps_per_epoch: int, num_epochs: int) -> LearningRate:
    return LearningRate(
        lr,
        schedule.name,
        steps_per_epoch=steps_per_epoch,
        num_epochs=num_epochs,
        milestones_epochs=schedule.milestones_epochs,
        gamma=schedule.gamma,
        final_factor=schedule.final_factor,
        warmup_epochs=schedule.warmup_epochs,
        warmup_factor=schedule.warmup_factor,
        warmup_steps=schedule.warmup_steps,
        per_epoch=schedule.per_epoch,
    )
