"""The recipe that a checkpoint was trained with."""

from __future__ import annotations

from collections.abc import Sequence

from shelfmark.config.load import load
from shelfmark.config.overrides import Override
from shelfmark.engine.checkpoint import Checkpoint, config_overrides
from shelfmark.recipe.tree import Recipe


def recipe_of(checkpoint: Checkpoint, overrides: Sequence[Override] = ()) -> Recipe:
    """A checkpoint's own options, then `overrides`."""
    return load(Recipe, None, [*config_overrides(checkpoint), *overrides]).config
