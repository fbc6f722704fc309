"""From the config tree to objects. Nothing else reads options to build parts."""

from shelfmark.recipe.assemble.data import (
    augmented_batches,
    evaluation_batches,
    mixing,
    prediction_batches,
    read_table,
    train_loader,
    view_batches,
)
from shelfmark.recipe.assemble.losses import loss_terms
from shelfmark.recipe.assemble.model import network
from shelfmark.recipe.assemble.optim import learning_rate, optimizer
from shelfmark.recipe.assemble.stages import enter_stage, stage_of

__all__ = [
    "augmented_batches",
    "enter_stage",
    "evaluation_batches",
    "learning_rate",
    "loss_terms",
    "mixing",
    "network",
    "optimizer",
    "prediction_batches",
    "read_table",
    "stage_of",
    "train_loader",
    "view_batches",
]
