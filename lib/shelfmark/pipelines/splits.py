"""The tables of a training run, and the guard against a leaked score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shelfmark.core.log import say, warn
from shelfmark.data.annotations import require_same_classes
from shelfmark.data.holdout import hold_out, leaked_rows
from shelfmark.data.table import Table
from shelfmark.pipelines.limits import two_batches
from shelfmark.pipelines.opened import OpenedModel
from shelfmark.recipe import Recipe, assemble

HELD_OUT_PART = 0.2


@dataclass(frozen=True)
class Splits:
    """retrieval: the query and gallery rows, None where the recipe has none.

    val_is_held_out: val is not the file's, but what of it was kept out of training.
    """

    train: Table
    val: Table
    retrieval: Table | None
    val_is_held_out: bool = False


def read_splits(recipe: Recipe, small: bool = False) -> Splits:
    """Training, validation and retrieval tables. No validation image is ever among the training images:
    where the files say so, it is said and a part of them is held out of training instead.

    small: evaluate on two batches only.
    """
    train = assemble.read_table(recipe, "train")
    val, retrieval = read_val_and_retrieval(recipe)
    require_same_classes(train, val, str(recipe.data.val_json))
    leaked = leaked_rows(train, val)
    if len(leaked):
        train, val = _without_leak(recipe, train, val)
        warn(
            f"{len(leaked)} of the validation images are training images too, so their score would mean nothing:"
            f" a part of them is held out of training, and {len(val)} images validate it"
        )
    retrieval_rows = f", {len(retrieval)} retrieval" if retrieval else ""
    say(f"data: {len(train)} training, {len(val)} validation{retrieval_rows} images, {train.num_classes} classes")
    if small:
        val = two_batches(val, recipe.eval.batch_size)
        retrieval = None if retrieval is None else two_batches(retrieval, recipe.eval.batch_size)
    return Splits(train, val, retrieval, bool(len(leaked)))


def read_evaluation(opened: OpenedModel) -> tuple[Table, Table | None]:
    """The val and retrieval tables of a trained model: of val only what it was not trained on."""
    if opened.checkpoint.manifest["val_is_held_out"]:
        splits = read_splits(opened.recipe)
        return splits.val, splits.retrieval
    return read_val_and_retrieval(opened.recipe)


def read_val_and_retrieval(recipe: Recipe) -> tuple[Table, Table | None]:
    """What a model is scored on. Their class counts are their own: retrieval's classes may be new ones."""
    val = assemble.read_table(recipe, "val", num_classes=0)
    if recipe.data.retrieval_json is None:
        return val, None
    return val, assemble.read_table(recipe, "retrieval", num_classes=0)


def _without_leak(recipe: Recipe, train: Table, val: Table) -> tuple[Table, Table]:
    train, _ = hold_out(train, leaked_rows(val, train), fraction=HELD_OUT_PART, seed=recipe.seed)
    unseen = np.ones(len(val), dtype=bool)
    unseen[leaked_rows(train, val)] = False
    return train, val.take(unseen)
