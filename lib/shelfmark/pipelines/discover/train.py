"""The training of a round, on labelled images and on the selection of the round before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.config.load import Loaded, load
from shelfmark.config.overrides import Override
from shelfmark.core.errors import UserError
from shelfmark.core.files import write_text
from shelfmark.data.boxes import box_of_record
from shelfmark.data.documents import annotations_json
from shelfmark.data.table import Table
from shelfmark.engine.hooks import NO_METRIC
from shelfmark.pipelines.discover.files import RunFiles
from shelfmark.pipelines.discover.findings import known_names
from shelfmark.pipelines.discover.review.apply import reviewed
from shelfmark.pipelines.discover.sets import set_table
from shelfmark.pipelines.train import train
from shelfmark.recipe import Recipe
from shelfmark.runtime.resume_plan import AUTO
from shelfmark.runtime.validation import RETRIEVAL_SCORES

PSEUDO = "pseudo"


def require_trainable(recipe: Recipe) -> None:
    """Raises a UserError if the recipe's options cannot choose a model for new classes, or have no effect."""
    if recipe.eval.metric != NO_METRIC and not recipe.eval.metric.startswith(RETRIEVAL_SCORES):
        raise UserError(
            f"eval.metric={recipe.eval.metric} is a score of trained classes; discovery chooses models by the search"
            " among classes that they have not seen: set eval.metric=recall@1 or eval.metric=map@r."
        )
    stages = [recipe.sampling.type, *(stage.type for stage in recipe.sampling.stages)]
    if recipe.discovery.selection.weight_by_density and "weighted" not in stages:
        raise UserError(
            f"discovery.selection.weight_by_density=true has no effect with sampling.type={recipe.sampling.type};"
            " set sampling.type=weighted, or leave the weights out."
        )


def round_annotations(run: RunFiles, number: int, weight_by_density: bool) -> bytes:
    """train.json of a round: labelled images as known classes 0..C-1, then the selection of the round before.

    Pseudo-classes are numbered from C on without a gap. A selected image has `source: pseudo`, its density as
    `confidence` and, if asked for, as `weight`.
    """
    names = list(known_names(run.table, run.read_sets().known_classes))
    labelled = set_table(run, "labelled")
    records = list(_records(labelled, labelled.labels))
    if number:
        pseudo, new_names = _pseudo_records(run, number - 1, len(names), weight_by_density)
        records += pseudo
        names += new_names
    return annotations_json(records, len(names), names)


def val_annotations(run: RunFiles) -> bytes | None:
    """val.json: the class-disjoint validation; None where there is none."""
    if not run.read_sets().images["val"]:
        return None
    table = set_table(run, "val")
    classes, labels = np.unique(table.labels, return_inverse=True)
    return annotations_json(_records(table, labels), len(classes))


def train_round(run: RunFiles, number: int, recipe: Recipe, small: bool) -> None:
    """Trains the round, or resumes its training."""
    made, _ = train(_round_recipe(run, number, recipe), AUTO, "resume", small_evaluation=small)
    assert made == run.stage(number, "train"), f"{made} is not the round's own folder"


def write_annotations(run: RunFiles, number: int, train_json: bytes, val_json: bytes | None) -> None:
    for file, content in ((run.train_json(number), train_json), (run.val_json, val_json)):
        if content is not None and (not file.is_file() or file.read_bytes() != content):
            write_text(file, content.decode())


def _round_recipe(run: RunFiles, number: int, recipe: Recipe) -> Loaded[Recipe]:
    """The recipe of a round's own run, as `shelfmark train` takes it."""
    values: dict[str, Any] = {
        **recipe.model_dump(mode="json"),
        "name": run.stage(number, "train").name,
        "output.log_root": str(run.round(number)),
        "data.generated": "",
        "data.train_json": str(run.train_json(number)),
        "data.more_train_json": [],
        "data.val_json": None,
        "data.test_json": None,
        "data.retrieval_json": str(run.val_json) if run.val_json.is_file() else None,
        "data.num_classes": 0,
    }
    if number and recipe.discovery.later_weight_decay is not None:
        values["optim.weight_decay"] = recipe.discovery.later_weight_decay
    if number and recipe.discovery.warm_start:
        values["model.weights"] = str(run.model(number - 1))
    return load(Recipe, None, [Override(key, value, f"round {number} of discovery") for key, value in values.items()])


def _records(table: Table, labels: np.ndarray) -> Iterator[dict[str, Any]]:
    for row, label in enumerate(labels.tolist()):
        box = {} if table.boxes is None else box_of_record(table.boxes[row])
        yield {"category_id": label, "fpath": table.paths[row], "image_id": table.image_ids[row], **box}


def _pseudo_records(
    run: RunFiles, number: int, num_known: int, weight_by_density: bool
) -> tuple[list[dict[str, Any]], list[str]]:
    """The records of the images that a round selected, and the names of their new classes."""
    selection = run.read_selection(number)
    labels, names = reviewed(run, number)
    chosen = np.flatnonzero(labels >= 0)
    labels, density = labels[chosen], selection.density[chosen]
    classes = np.unique(labels[labels >= num_known])
    compact = np.where(labels < num_known, labels, num_known + np.searchsorted(classes, labels))
    records = list(_records(run.table.take(selection.rows[chosen]), compact))
    for record, sure in zip(records, density.tolist()):
        record |= {"source": PSEUDO, "confidence": round(sure, 6)}
        if weight_by_density:
            record["weight"] = round(min(1.0, max(0.0, sure)), 6)
    new = [names.get(label, f"new {place}") for place, label in enumerate(classes.tolist())]
    return records, new


def checkpoint_files(folder: Path) -> dict[str, Path]:
    """The files of a checkpoint that later stages read."""
    return {name: folder / name for name in ("model.safetensors",)}
