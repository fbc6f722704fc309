"""The stages of a training."""

from __future__ import annotations

from shelfmark.models.network import Network
from shelfmark.recipe.assemble.model import heads_without_loss
from shelfmark.recipe.tree import Recipe


def stage_of(recipe: Recipe, epoch: int) -> int:
    """The number of an epoch's stage: 0 before the first of train.stages begins."""
    return sum(stage.from_epoch <= epoch for stage in recipe.train.stages)


def apply_stage(recipe: Recipe, network: Network, number: int, anew: bool) -> None:
    """Freezes modules and adds class factors as the stage says. anew: the stage begins now, so a classifier that it
    restarts gets fresh weights."""
    stage = recipe.train.stages[number - 1] if number else None
    freeze = recipe.model.freeze if stage is None or stage.freeze is None else stage.freeze
    if anew and stage is not None and stage.classifier == "restart":
        network.restart_classifier(recipe.seed, f"model.classifier.stage{number}")
    if stage is not None and stage.classifier == "scale":
        network.add_class_factors()
    else:
        network.fold_class_factors()
    network.freeze(
        [*freeze, *heads_without_loss(recipe)],
        adapt_frozen_bn_statistics=stage is not None and stage.adapt_frozen_bn_statistics,
    )
