"""The recipe that a checkpoint was trained with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from shelfmark.config.load import Loaded, load
from shelfmark.config.overrides import Override
from shelfmark.data.source_words import FILES
from shelfmark.engine.checkpoint import Checkpoint, config_overrides
from shelfmark.recipe.tree import Recipe

_SOURCE = "data.source"


def recipe_of(checkpoint: Checkpoint, overrides: Sequence[Override] = ()) -> Recipe:
    """A checkpoint's own options, then `overrides`; but images are read in their files unless these name another
    data.source: a model is asked about photographs as they are, and a copy made for its training may be gone."""
    own = [*config_overrides(checkpoint), Override(_SOURCE, FILES, "a trained model")]
    return with_its_input(load(Recipe, None, [*own, *overrides]), checkpoint).config


def source_of_training(checkpoint: Checkpoint) -> list[Override]:
    """The data.source that the checkpoint was trained with, as an override of `recipe_of`: for what is a part of the
    run, such as its own scores and its report."""
    source = load(Recipe, None, config_overrides(checkpoint)).config.data.source
    return [Override(_SOURCE, source, f"checkpoint {checkpoint.folder}")]


def with_its_input(loaded: Loaded[Recipe], checkpoint: Checkpoint) -> Loaded[Recipe]:
    """The recipe, with the checkpoint's numbers for those of `data` that say `backbone`: its weights saw such input."""
    names = loaded.config.data.by_weights
    if not names:
        return loaded
    own = load(Recipe, None, config_overrides(checkpoint)).config.data
    return put_input(loaded, {name: getattr(own, name) for name in names}, f"checkpoint {checkpoint.folder}")


def put_input(loaded: Loaded[Recipe], values: dict[str, object], origin: str) -> Loaded[Recipe]:
    """The recipe with these options of `data`; origin: what config.yaml says of them."""
    data = loaded.config.data.model_copy(update=values)
    origins = {**loaded.origins, **{f"data.{name}": origin for name in values}}
    return replace(loaded, config=loaded.config.model_copy(update={"data": data}), origins=origins)
