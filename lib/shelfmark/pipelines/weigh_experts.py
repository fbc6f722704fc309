"""`shelfmark weigh-experts`: the weight of each expert, from images without labels."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from shelfmark.calibration import ExpertWeights
from shelfmark.core.contracts import Embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.files import unused_path, write_json
from shelfmark.core.log import say
from shelfmark.data.annotations import folder_table
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.table import Table
from shelfmark.evaluation.extract import extract
from shelfmark.pipelines.predict import test_set
from shelfmark.recipe import assemble
from shelfmark.runtime.recalibration import classifier_tensors, save_recalibrated
from shelfmark.runtime.trained_model import TrainedModel

METHOD = "expert_weights"


@dataclass(frozen=True)
class ExpertWeighing:
    """checkpoint: the folder that test.py takes. weights: (X,), positive, of sum 1. stability: see
    `calibration.expert_weights.stability`, with these weights; equal_stability: with equal ones."""

    folder: Path
    checkpoint: Path
    weights: tuple[float, ...]
    stability: float
    equal_stability: float


def weigh_experts(opened: TrainedModel, images: Path | None = None) -> ExpertWeighing:
    """Weighs the experts by the recipe's test set, or by every photograph under `images`, whose labels nobody needs.

    Each image is seen in two views, augmented as in training. Writes the checkpoint whose classifier takes the weighted
    mean in place of the mean, under `output.tau_root/<run>`.
    """
    _require_equal_experts(opened)
    table = folder_table(images) if images else test_set(opened)
    folder = unused_path(opened.recipe.output.tau_root / opened.run_folder.name)
    fitted = _fit(opened, table, folder)
    weights = tuple(round(weight, 6) for weight in fitted.weights_.tolist())
    facts = {
        "method": METHOD,
        "unmodified": False,
        "weights": list(weights),
        "stability": fitted.stability_,
        "equal_stability": fitted.equal_stability_,
        "num_images": len(table),
    }
    save_recalibrated(opened, folder / "best_model", fitted, facts)
    write_json(folder / "summary.json", {**facts, "checkpoint": opened.checkpoint.folder})
    told = ", ".join(f"expert {number} {weight:.3f}" for number, weight in enumerate(weights, start=1))
    say(f"weights by {len(table)} images: {told}; written to {folder}")
    return ExpertWeighing(folder, folder / "best_model", weights, fitted.stability_, fitted.equal_stability_)


def _require_equal_experts(opened: TrainedModel) -> None:
    if opened.recipe.model.experts == 1:
        raise UserError(
            f"{opened.checkpoint.folder} has a single expert, so there is nothing to weigh; train several with"
            " model.experts=3, as configs/longtail/sade.yaml does."
        )
    if any(step["method"] == METHOD for step in opened.recalibrations):
        raise UserError(
            f"the experts of {opened.checkpoint.folder} are weighed already; give the checkpoint that it was made from."
        )


def _fit(opened: TrainedModel, table: Table, folder: Path) -> ExpertWeights:
    bad_images = BadImageLog(folder / "bad_images.csv", num_images=len(table))
    weight, bias = classifier_tensors(opened)
    # Two views of each image are of no use to any later command.
    with tempfile.TemporaryDirectory() as views:
        # What cannot be read is missing in both views; it is listed once.
        first = _view(opened, table, 1, Path(views), bad_images)
        second = _view(opened, table, 2, Path(views), None)
        return ExpertWeights().fit(first.features, second.features, weight, bias, opened.recipe.model.experts)


def _view(opened: TrainedModel, table: Table, view: int, folder: Path, bad_images: BadImageLog | None) -> Embeddings:
    def embed(images: Tensor) -> Tensor:
        with torch.inference_mode(), opened.precision.autocast():
            return opened.network.embed(images.to(opened.precision.device, non_blocking=True))

    batches = assemble.augmented_batches(opened.recipe, table, view, bad_images)
    return extract(embed, batches, table, folder / f"view{view}", {"view": view})
