"""Builds objects from the config tree. Nothing else reads options to build parts."""

from shelfmark.recipe.assemble.data import (
    augmentation,
    epoch_order,
    image_source,
    mixing,
    read_table,
    read_training,
    sized_augmentation,
    train_loader,
)
from shelfmark.recipe.assemble.losses import loss_terms
from shelfmark.recipe.assemble.model import network
from shelfmark.recipe.assemble.optim import learning_rate, optimizer
from shelfmark.recipe.assemble.stages import apply_stage, stage_of

__all__ = [
    "apply_stage",
    "augmentation",
    "epoch_order",
    "image_source",
    "learning_rate",
    "loss_terms",
    "mixing",
    "network",
    "optimizer",
    "read_table",
    "read_training",
    "sized_augmentation",
    "stage_of",
    "train_loader",
]
