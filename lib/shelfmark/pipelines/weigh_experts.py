"""`shelfmark weigh-experts`: the weight of each expert, from images without labels."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from shelfmark.calibration import ExpertWeights
from shelfmark.core.contracts import Embeddings
from shelfmark.core.destinations import require_place
from shelfmark.core.errors import UserError
from shelfmark.core.files import unused_path, write_json
from shelfmark.core.log import say
from shelfmark.core.terminal import percent
from shelfmark.core.together import from_main, together
from shelfmark.core.wording import counted
from shelfmark.data.annotations import folder_table
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.table import Table
from shelfmark.evaluation.extract import extract
from shelfmark.pipelines.predict import test_set
from shelfmark.recipe import assemble
from shelfmark.runtime.image_pass import augmented_pass
from shelfmark.runtime.photographs import forgiving, tell_unread
from shelfmark.runtime.recalibration import classifier_tensors, recalibrated_bytes, save_recalibrated
from shelfmark.runtime.trained_model import TrainedModel

METHOD = "expert_weights"


@dataclass(frozen=True)
class ExpertWeighing:
    """checkpoint: the folder that test.py takes. weights: (X,), positive, of sum 1. stability: see
    `calibration.expert_weights.stability`, with these weights; equal_stability: with equal ones. errors: id of an
    unreadable image -> the reason."""

    folder: Path
    checkpoint: Path
    weights: tuple[float, ...]
    stability: float
    equal_stability: float
    errors: Mapping[str, str]


def weigh_experts(model: TrainedModel, images: Path | None = None) -> ExpertWeighing:
    """Weighs the experts by the recipe's test set, or by every photograph under `images`. Needs no labels.

    Each image is seen in two views, augmented as in training. Writes the checkpoint whose classifier takes the weighted
    mean in place of the mean, under `output.tau_root/<run>`.
    """
    _require_equal_experts(model)
    with together():
        table = folder_table(images) if images else test_set(model)
    if images:
        model = forgiving(model)
    place = model.recipe.output.tau_root / model.run_folder.name
    size_bytes = recalibrated_bytes(model)
    folder = from_main(
        lambda: unused_path(require_place(place, "output.tau_root:", is_folder=True, size_bytes=size_bytes))
    )
    # Two views of each image are of no use to any later command.
    with ExitStack() as stack:
        views = Path(from_main(lambda: stack.enter_context(tempfile.TemporaryDirectory())))
        limit = None if images else model.recipe.data.max_bad_images
        bad_images = BadImageLog(
            folder / "bad_images.csv", num_images=len(table), limit=limit, source=model.recipe.data.source
        )
        # An unreadable picture is missing in both views, so it is listed once.
        with bad_images.over_ranks():
            first = _view(model, table, 1, views, bad_images)
        errors = {table.image_ids[row]: reason for row, reason in bad_images.reasons.items()}
        tell_unread(len(table), errors, bad_images.file)
        second = _view(model, table, 2, views, None)
        return from_main(lambda: _weighed(model, first, second, folder, errors), "calibration")


def _weighed(
    model: TrainedModel, first: Embeddings, second: Embeddings, folder: Path, errors: Mapping[str, str]
) -> ExpertWeighing:
    weight, bias = classifier_tensors(model)
    num_images = len(first) + len(errors)
    fitted = ExpertWeights().fit(first.features, second.features, weight, bias, model.recipe.model.experts)
    weights = tuple(round(weight, 6) for weight in fitted.weights_.tolist())
    facts = {
        "method": METHOD,
        "unmodified": False,
        "weights": list(weights),
        "stability": fitted.stability_,
        "equal_stability": fitted.equal_stability_,
        "num_images": num_images,
    }
    save_recalibrated(model, folder / "best_model", fitted, facts)
    write_json(folder / "summary.json", {**facts, "checkpoint": model.checkpoint.folder})
    told = ", ".join(f"expert {number} {percent(weight)}" for number, weight in enumerate(weights, start=1))
    say(f"weights by {counted(num_images, 'image')}: {told}; written to {folder}")
    return ExpertWeighing(folder, folder / "best_model", weights, fitted.stability_, fitted.equal_stability_, errors)


def _require_equal_experts(model: TrainedModel) -> None:
    if model.recipe.model.experts == 1:
        raise UserError(
            f"{model.checkpoint.folder} has a single expert, so there is nothing to weigh; train several with"
            " model.experts=3, as configs/longtail/sade.yaml does."
        )
    if any(step["method"] == METHOD for step in model.recalibrations):
        raise UserError(
            f"the experts of {model.checkpoint.folder} are weighed already; give the checkpoint that it was made from."
        )


def _view(model: TrainedModel, table: Table, view: int, folder: Path, bad_images: BadImageLog | None) -> Embeddings:
    source = assemble.image_source(model.recipe, table)
    images = augmented_pass(model.recipe, model.network, model.precision, source, view)
    share = ((batch.rows, batch.values) for batch in images.share(bad_images))
    return extract(share, table, folder / f"view{view}", {"view": view})
