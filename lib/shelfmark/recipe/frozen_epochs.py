"""The epochs in which the whole backbone stays as it is."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shelfmark.recipe.tree import Recipe

BACKBONE = "backbone"


def frozen_epochs(recipe: Recipe) -> list[range]:
    """Ranges of epochs, in order, whose stages freeze `backbone` and adapt no statistics. Stages that follow each other
    make up one range."""
    found: list[range] = []
    for stage, epochs in enumerate(epochs_of_stages(recipe)):
        if not _keeps_the_backbone(recipe, stage):
            continue
        if found and found[-1].stop == epochs.start:
            found[-1] = range(found[-1].start, epochs.stop)
        else:
            found.append(epochs)
    return found


def cached_epochs(recipe: Recipe) -> list[range]:
    """The `frozen_epochs`, if their features are stored (`train.cache_features`); else none."""
    return frozen_epochs(recipe) if recipe.train.cache_features.views else []


def cached_around(recipe: Recipe, epoch: int) -> range | None:
    """The range of `cached_epochs` that an epoch belongs to, if any."""
    return next((epochs for epochs in cached_epochs(recipe) if epoch in epochs), None)


def epochs_of_stages(recipe: Recipe) -> list[range]:
    """The epochs of each stage. Stage 0 is the one before train.stages begin."""
    begins = [0, *(stage.from_epoch for stage in recipe.train.stages), recipe.train.num_epochs]
    return [range(begin, end) for begin, end in pairwise(begins)]


def epochs_alike(recipe: Recipe) -> list[range]:
    """Ranges of epochs, in order, whose steps take the same memory and time: of one stage, and of one size in
    augment.sizes."""
    num_epochs = recipe.train.num_epochs
    starts = {epochs.start for epochs in epochs_of_stages(recipe)} | {one.from_epoch for one in recipe.augment.sizes}
    begins = sorted({0, *(epoch for epoch in starts if epoch < num_epochs), num_epochs})
    return [range(begin, end) for begin, end in pairwise(begins)]


def _keeps_the_backbone(recipe: Recipe, number: int) -> bool:
    stage = recipe.train.stages[number - 1] if number else None
    freeze = recipe.model.freeze if stage is None or stage.freeze is None else stage.freeze
    return BACKBONE in freeze and not (stage is not None and stage.adapt_frozen_bn_statistics)
