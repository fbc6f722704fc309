"""`python tau_norm.py`: a recalibrated classifier from one feature pass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shelfmark.calibration import Calibrated, Linear, TauNorm, compare
from shelfmark.core.contracts import Embeddings
from shelfmark.core.destinations import require_place
from shelfmark.core.files import unused_path, write_json
from shelfmark.core.log import say
from shelfmark.core.together import from_main, together
from shelfmark.pipelines.evaluate import draw_recalibrated
from shelfmark.reports.plots import tau_curve
from shelfmark.reports.tables import write_table
from shelfmark.runtime.calibration_methods import calibration_facts, fit_tau_norm, require_row_lengths, tau_text
from shelfmark.runtime.recalibration import (
    classifier_tensors,
    recalibrated_bytes,
    run_features,
    save_recalibrated,
    warn_of_earlier,
)
from shelfmark.runtime.splits import read_evaluation, require_val
from shelfmark.runtime.trained_model import TrainedModel
from shelfmark.runtime.val_parts import choosing_of


@dataclass(frozen=True)
class Recalibration:
    """checkpoint: the folder for test.py. tau: None if the unmodified model was best.

    summary: the content of summary.json. table: one row a tau.
    """

    folder: Path
    checkpoint: Path
    tau: float | None
    summary: dict[str, Any]
    table: list[dict[str, Any]]


def tau_norm(model: TrainedModel) -> Recalibration:
    """Sweeps tau over stored val features, chooses it by k-fold, writes the recalibrated checkpoint beside
    the table and plot, under `output.tau_root/<run>`."""
    with together():
        require_place(_folder(model), "output.tau_root:", is_folder=True, size_bytes=recalibrated_bytes(model))
        require_row_lengths(model, "tau-norm")
        warn_of_earlier(model)
        val, name = choosing_of(model, require_val(read_evaluation(model)[0], "tau-norm"))
    features = run_features(model, val, name)

    def fit() -> Recalibration:
        result = _write(model, fit_tau_norm(model, features), features)
        draw_recalibrated(model, result.checkpoint, val, features)
        return result

    return from_main(fit, "calibration")


def write_sweep(fitted: TauNorm, folder: Path) -> None:
    """Writes tau_norm.csv and tau_norm.png."""
    write_table(folder / "tau_norm.csv", fitted.table_)
    tau_curve(fitted.table_, folder / "tau_norm.png", chosen=_chosen_tau(fitted))


def _folder(model: TrainedModel) -> Path:
    return model.recipe.output.tau_root / model.run_folder.name


def _write(model: TrainedModel, fitted: TauNorm, val: Embeddings) -> Recalibration:
    recipe = model.recipe
    folder = unused_path(_folder(model))
    tau = _chosen_tau(fitted)
    summary = {
        "tau": tau,
        "bias": recipe.tau_norm.bias,
        "checkpoint": model.checkpoint.folder,
        **fitted.summary_,
        **_scores(model, fitted, val),
    }
    checkpoint = folder / "best_model"
    save_recalibrated(model, checkpoint, fitted, calibration_facts(model, fitted))
    write_sweep(fitted, folder)
    write_json(folder / "summary.json", summary)
    told = "the unmodified model is best" if tau is None else tau_text(tau, recipe.tau_norm.bias == "zero")
    say(f"recalibrated: {told}; written to {folder}")
    return Recalibration(folder, checkpoint, tau, summary, fitted.table_)


def _scores(model: TrainedModel, fitted: TauNorm, val: Embeddings) -> dict[str, dict[str, Any]]:
    """Scores, intervals and ece: of the model before and after, and cross-validated on images that tau did not see."""
    recipe = model.recipe
    models: dict[str, Calibrated] = {
        "unmodified": Linear(*classifier_tensors(model)),
        "recalibrated": Linear(fitted.weight_, fitted.bias_),
        "cross_validated": fitted,
    }
    compared = compare(
        models,
        val.features,
        val.labels,
        model.num_classes,
        model.counts,
        many=recipe.eval.many,
        few=recipe.eval.few,
        folds=recipe.tau_norm.folds,
        seed=recipe.seed,
    )
    return {str(row.pop("method")): row for row in compared.table}


def _chosen_tau(fitted: TauNorm) -> float | None:
    return None if fitted.chosen_is_unmodified_ else float(fitted.tau_)
