"""Under which folder the training images of a model are, where data.root was typed for other images."""

from __future__ import annotations

import os
from pathlib import Path

from shelfmark.config.load import load
from shelfmark.core.log import say
from shelfmark.data.options import DataOptions
from shelfmark.data.source_words import reads_files
from shelfmark.data.table import Table
from shelfmark.engine.checkpoint import config_overrides
from shelfmark.recipe import Recipe, assemble
from shelfmark.runtime.trained_model import TrainedModel


def own_data(model: TrainedModel) -> DataOptions:
    """The options of `data` that the model was trained with."""
    return load(Recipe, None, config_overrides(model.checkpoint)).config.data


def training_recipe(model: TrainedModel) -> Recipe:
    """The model's recipe, by which its training annotations are read.

    A typed data.root is that of the training too where it has all of its images, as after a move. Where it lacks one,
    it was typed for other images, such as those of `--annotations`; then data.root is the checkpoint's own, if the
    training images are there. Training annotations that were typed belong to the typed folder.
    """
    recipe, own = model.recipe, own_data(model)
    data = recipe.data
    is_own = (data.train_json, data.more_train_json) == (own.train_json, own.more_train_json)
    if not is_own or not reads_files(data.source) or os.path.abspath(data.root) == os.path.abspath(own.root):
        return recipe
    back = recipe.model_copy(update={"data": data.model_copy(update={"root": own.root})})
    if not own.root.is_dir():
        return recipe
    table = assemble.read_table(back, "train", check_files=False)
    if _has_all(data.root, table) or not table.path(0).is_file():
        return recipe
    say(f"the training images are those in {own.root}, the checkpoint's own data.root; {data.root} lacks some of them")
    return back


def _has_all(root: Path, table: Table) -> bool:
    """Whether every image of the table is in `root` too. An absolute path is of an image elsewhere."""
    return all(not path.startswith("/") and (root / path).is_file() for path in table.paths)
