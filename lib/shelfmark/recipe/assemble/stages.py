"""The stages of a training."""

from __future__ import annotations

from shelfmark.models.network import Network
from shelfmark.recipe.assemble.model import heads_without_loss
from shelfmark.recipe.tree import Recipe


def stage_of(recipe: Recipe, epoch: int) -> int:
    """Which stage an epoch belongs to: 0 before the first of train.stages begins."""
    return sum(stage.from_epoch <= epoch for stage in recipe.train.stages)


def enter_stage(recipe: Recipe, network: Network, number: int, anew: bool) -> None:
    """Freezes and scales what a stage does. anew: the stage begins here, so that its classifier may begin anew."""
    stage = recipe.train.stages[number - 1] if number else None
    freeze = recipe.model.freeze if stage is None or stage.freeze is None else stage.freeze
    if anew and stage is not None and stage.classifier == "restart":
        network.restart_classifier(recipe.seed, f"model.classifier.stage{number}")
    if stage is not None and stage.classifier == "scale":
        network.scale_classifier()
    else:
        network.fold_class_scale()
    network.freeze(
        [*freeze, *heads_without_loss(recipe)],
        update_batch_norm=stage is not None and stage.update_batch_norm,
    )
