"""`python tau_norm.py`: a recalibrated classifier from one feature pass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shelfmark.calibration import Calibrated, Linear, TauNorm, compare
from shelfmark.core.contracts import Embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.files import unused_path, write_json
from shelfmark.core.log import say
from shelfmark.pipelines.evaluate import draw_recalibrated
from shelfmark.pipelines.opened import OpenedModel
from shelfmark.pipelines.recalibration import (
    classifier_tensors,
    run_features,
    save_recalibrated,
    warn_of_earlier,
)
from shelfmark.pipelines.splits import read_evaluation, require_val
from shelfmark.recipe.tree import TauNorm as TauNormOptions
from shelfmark.reports.plots import tau_curve
from shelfmark.reports.tables import write_table


@dataclass(frozen=True)
class Recalibrated:
    """checkpoint: the folder that test.py takes. tau: None where the unmodified model was best.

    summary: what summary.json holds. table: one row a tau.
    """

    folder: Path
    checkpoint: Path
    tau: float | None
    summary: dict[str, Any]
    table: list[dict[str, Any]]


def tau_norm(opened: OpenedModel) -> Recalibrated:
    """Sweeps tau over stored val features, chooses it by k-fold, writes the recalibrated checkpoint beside
    the table and plot, under `output.tau_root/<run>`."""
    require_row_lengths(opened, "tau-norm")
    warn_of_earlier(opened)
    val = require_val(read_evaluation(opened)[0], "tau-norm")
    features = run_features(opened, val, "val")
    result = _write(opened, fit_tau_norm(opened, features), features)
    draw_recalibrated(opened, result.checkpoint, val, features)
    return result


def require_row_lengths(opened: OpenedModel, method: str) -> None:
    """Raises a UserError where the lengths of the classifier's rows mean nothing."""
    if opened.recipe.model.classifier.type == "cosine":
        raise UserError(f"{method} rescales the rows of a linear classifier; a cosine classifier's have no length.")


def fit_tau_norm(opened: OpenedModel, val: Embeddings) -> TauNorm:
    """The sweep over the val features, by the options under `tau_norm`."""
    recipe = opened.recipe
    weight, bias = classifier_tensors(opened)
    options = recipe.tau_norm
    return TauNorm(taus(options), bias=options.bias, folds=options.folds, seed=recipe.seed).fit(
        val.features,
        torch.from_numpy(val.labels),
        weight,
        bias,
        counts=torch.from_numpy(opened.counts),
        many=recipe.eval.many,
        few=recipe.eval.few,
    )


def taus(options: TauNormOptions) -> list[float]:
    """The grid, both ends included."""
    number = int(np.floor((options.stop - options.start) / options.step + 1e-9)) + 1
    if number < 1:
        raise UserError(f"tau_norm.stop={options.stop:g} is less than tau_norm.start={options.start:g}.")
    return [round(options.start + index * options.step, 10) for index in range(number)]


def calibration_facts(opened: OpenedModel, fitted: TauNorm) -> dict[str, object]:
    """What the manifest of the recalibrated checkpoint says of it."""
    unmodified = fitted.chosen_is_unmodified_
    return {
        "method": "tau_norm",
        "tau": float(fitted.tau_),
        "bias": "keep" if unmodified else opened.recipe.tau_norm.bias,
        "unmodified": unmodified,
    }


def write_sweep(fitted: TauNorm, folder: Path) -> None:
    """Writes tau_norm.csv and tau_norm.png."""
    write_table(folder / "tau_norm.csv", fitted.table_)
    tau_curve(fitted.table_, folder / "tau_norm.png", chosen=_chosen_tau(fitted))


def _write(opened: OpenedModel, fitted: TauNorm, val: Embeddings) -> Recalibrated:
    recipe = opened.recipe
    folder = unused_path(recipe.output.tau_root / opened.run_folder.name)
    tau = _chosen_tau(fitted)
    summary = {
        "tau": tau,
        "bias": recipe.tau_norm.bias,
        "checkpoint": opened.checkpoint.folder,
        **fitted.summary_,
        **_scores(opened, fitted, val),
    }
    checkpoint = folder / "best_model"
    save_recalibrated(opened, checkpoint, fitted, calibration_facts(opened, fitted))
    write_sweep(fitted, folder)
    write_json(folder / "summary.json", summary)
    say(f"recalibrated: {'the unmodified model is best' if tau is None else f'tau {tau:g}'}; written to {folder}")
    return Recalibrated(folder, checkpoint, tau, summary, fitted.table_)


def _scores(opened: OpenedModel, fitted: TauNorm, val: Embeddings) -> dict[str, dict[str, Any]]:
    """Of the model before, after, and of the choice on images that had no part in it: scores, intervals and ece."""
    recipe = opened.recipe
    models: dict[str, Calibrated] = {
        "unmodified": Linear(*classifier_tensors(opened)),
        "recalibrated": Linear(fitted.weight_, fitted.bias_),
        "cross_validated": fitted,
    }
    compared = compare(
        models,
        val.features,
        val.labels,
        opened.num_classes,
        opened.counts,
        many=recipe.eval.many,
        few=recipe.eval.few,
        folds=recipe.tau_norm.folds,
        seed=recipe.seed,
    )
    return {str(row.pop("method")): row for row in compared.table}


def _chosen_tau(fitted: TauNorm) -> float | None:
    return None if fitted.chosen_is_unmodified_ else float(fitted.tau_)
