"""The tables of a training run, and the guard against a leaked score."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.log import say, warn
from shelfmark.core.wording import counted
from shelfmark.data.class_map import ClassList, class_numbers, matched
from shelfmark.data.holdout import hold_out, leaked_rows
from shelfmark.data.open_set import without_classes
from shelfmark.data.table import Table
from shelfmark.engine.hooks import NO_METRIC
from shelfmark.recipe import Recipe, assemble
from shelfmark.runtime.small_runs import two_batches
from shelfmark.runtime.trained_model import TrainedModel
from shelfmark.runtime.training_root import own_data, training_recipe
from shelfmark.runtime.validation import RETRIEVAL_SCORES

HELD_OUT_PART = 0.2

NOTHING_TO_SCORE = (
    "data.val_json is not set; give images of the trained classes, by data.val_json=FILE, or images for retrieval, by"
    " data.retrieval_json=FILE with eval.metric=recall@1. To train without any score: eval.metric=none."
)


@dataclass(frozen=True)
class Splits:
    """val: pictures of the trained classes. retrieval: the query and gallery rows. Each is None if the recipe has none;
    both are None only with eval.metric=none.

    val_is_held_out: the files' val images were in training, so val is the part of them that was taken out of it.
    for_means: the training images whose class means may be a classifier's first weights; few in a small run.
    open_classes: those that are kept out of train and val, see data.open_set_classes.
    """

    train: Table
    val: Table | None
    retrieval: Table | None
    val_is_held_out: bool
    for_means: Table
    open_classes: tuple[int, ...] = ()


def read_splits(recipe: Recipe, small: bool = False, of_training: Recipe | None = None) -> Splits:
    """Training, validation and retrieval tables. No validation image is in training: if the files share images, a
    warning says so, and a part of the shared images is held out of training.

    small: evaluate on two batches, and take class means of two. of_training: by which the training images are read, if
    by another recipe.
    """
    train, kept_out = assemble.read_training(of_training or recipe)
    open_classes = np.unique(kept_out.labels)
    val, retrieval = _read_val_and_retrieval(recipe)
    num_leaked = 0
    if val is None:
        _check_retrieval_alone(recipe, train, retrieval)
    else:
        val = matched(val, str(recipe.data.val_json), ClassList.of_training(train))
        val = without_classes(val, open_classes)
        num_leaked = len(leaked_rows(train, val))
    if val is not None and num_leaked:
        train, val = _without_leak(recipe, train, val)
        warn(
            f"{num_leaked} of the validation images are training images too, so their score would mean nothing:"
            f" a part of them is held out of training, and {counted(len(val), 'image')} are left for validation"
        )
    tables = {"training": train, "validation": val, "retrieval": retrieval}
    told = ", ".join(f"{len(table)} {name}" for name, table in tables.items() if table is not None)
    say(f"data: {told} images, {counted(train.num_classes, 'class')}")
    if small:
        val, retrieval = (
            None if table is None else two_batches(table, recipe.eval.batch_size) for table in (val, retrieval)
        )
    for_means = two_batches(train, recipe.eval.batch_size) if small else train
    return Splits(train, val, retrieval, bool(num_leaked), for_means, tuple(open_classes.tolist()))


def read_evaluation(model: TrainedModel) -> tuple[Table | None, Table | None]:
    """The val and retrieval tables of a trained model, at least one of them. val has no image of its training, and the
    model's class numbers."""
    if model.checkpoint.manifest["val_is_held_out"]:
        splits = read_model_splits(model)
        return splits.val, splits.retrieval
    val, retrieval = _read_val_and_retrieval(model.recipe)
    if val is None and retrieval is None:
        raise UserError(NOTHING_TO_SCORE)
    if val is not None:
        val = matched(val, str(model.recipe.data.val_json), model.classes)
        val = without_classes(val, np.array(model.open_classes, dtype=np.int64))
    return val, retrieval


def read_model_splits(model: TrainedModel) -> Splits:
    """As `read_splits`, with the classes of a trained model."""
    # Of val that is the checkpoint's own, the images would not be known for those of the training in another folder.
    is_other_val = model.recipe.data.val_json != own_data(model).val_json
    of_training = training_recipe(model) if is_other_val else None
    return with_classes(read_splits(model.recipe, of_training=of_training), model.classes, model.recipe)


def with_classes(splits: Splits, known: ClassList, recipe: Recipe) -> Splits:
    """The splits with their classes numbered as in `known`. Those of retrieval are compared only with each other, and
    keep their own numbers. UserError: see `matched`."""
    train = matched(splits.train, str(recipe.data.train_json), known)
    if train is splits.train:
        return splits
    val = None if splits.val is None else matched(splits.val, str(recipe.data.val_json), known)
    numbers = class_numbers(ClassList.of_training(splits.train), known)
    open_classes = tuple(sorted(numbers[list(splits.open_classes)].tolist()))
    # A network that knows classes begins with no class means.
    return replace(splits, train=train, val=val, for_means=train, open_classes=open_classes)


def _read_val_and_retrieval(recipe: Recipe) -> tuple[Table | None, Table | None]:
    """The tables that a model is scored on. Each counts its own classes: those of retrieval may be new."""
    val = None if recipe.data.val_json is None else assemble.read_table(recipe, "val", num_classes=0)
    retrieval = None if recipe.data.retrieval_json is None else assemble.read_table(recipe, "retrieval", num_classes=0)
    return val, retrieval


def require_val(val: Table | None, purpose: str) -> Table:
    """The val table. If there is none, a UserError says what it is needed for."""
    if val is None:
        raise UserError(
            f"{purpose} scores images of the trained classes, and data.val_json is not set: this model was validated"
            " by retrieval alone. Give annotations of images that it was not trained on, as data.val_json=FILE."
        )
    return val


def _check_retrieval_alone(recipe: Recipe, train: Table, retrieval: Table | None) -> None:
    """Raises a UserError if the score that chooses the checkpoint needs val, or if its queries are in training."""
    metric = recipe.eval.metric
    if metric == NO_METRIC:
        return
    if retrieval is None:
        raise UserError(NOTHING_TO_SCORE)
    if not metric.startswith(RETRIEVAL_SCORES):
        raise UserError(
            f"eval.metric={metric!r} is a score of images of the trained classes, and data.val_json is not set;"
            " choose the checkpoint by retrieval, such as eval.metric=recall@1, or give data.val_json=FILE."
        )
    queries = retrieval if retrieval.is_query is None else retrieval.take(retrieval.is_query)
    num_leaked = len(leaked_rows(train, queries))
    if num_leaked:
        raise UserError(
            f"{num_leaked} of the {len(queries)} queries of data.retrieval_json={recipe.data.retrieval_json} are"
            " training images too, so their score would mean nothing, and data.val_json is not set; search for other"
            " images, or give data.val_json=FILE to choose the checkpoint by."
        )


def _without_leak(recipe: Recipe, train: Table, val: Table) -> tuple[Table, Table]:
    train, _ = hold_out(train, leaked_rows(val, train), fraction=HELD_OUT_PART, seed=recipe.seed)
    unseen = np.ones(len(val), dtype=bool)
    unseen[leaked_rows(train, val)] = False
    return train, val.take(unseen)
