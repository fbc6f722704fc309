"""The stages of a training."""

from __future__ import annotations

from shelfmark.models.network import Network
from shelfmark.recipe.assemble.model import heads_without_loss
from shelfmark.recipe.tree import Recipe


def stage_of(recipe: Recipe, epoch: int) -> int:
    """Which stage an epoch belongs to: 0 before the first of train.stages begins."""
    return sum(stage.from_epoch <= epoch for stage in recipe.train.stages)


def apply_stage(recipe: Recipe, network: Network, number: int, anew: bool) -> None:
    """Freezes and scales what a stage does. anew: the stage begins here, so that its classifier may begin anew."""
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
