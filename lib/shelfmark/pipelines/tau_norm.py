"""`python tau_norm.py`: a recalibrated classifier from one feature pass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shelfmark.calibration import TauNorm
from shelfmark.core.errors import UserError
from shelfmark.core.files import unused_path, write_json
from shelfmark.core.log import say
from shelfmark.engine.checkpoint import load_checkpoint, save_checkpoint
from shelfmark.pipelines.features import features_of
from shelfmark.pipelines.opened import OpenedModel
from shelfmark.pipelines.splits import read_evaluation
from shelfmark.recipe.tree import TauNorm as TauNormOptions
from shelfmark.reports.plots import tau_curve
from shelfmark.reports.tables import write_table


@dataclass(frozen=True)
class Recalibrated:
    """checkpoint: the folder that test.py takes. tau: None where the unmodified model was best."""

    folder: Path
    checkpoint: Path
    tau: float | None
    summary: dict[str, Any]
    table: list[dict[str, Any]]


def tau_norm(opened: OpenedModel) -> Recalibrated:
    """Sweeps tau over stored val features, chooses it by k-fold, writes the recalibrated checkpoint beside
    the table and plot, under `output.tau_root/<run>`."""
    recipe = opened.recipe
    if recipe.model.classifier.type == "cosine":
        raise UserError("tau-norm rescales the rows of a linear classifier; a cosine classifier's have no length.")
    val, _ = read_evaluation(opened)
    features = features_of(
        opened.network,
        recipe,
        val,
        opened.run_folder / "embeddings" / "val",
        checkpoint_hash=opened.checkpoint.weights_hash,
        precision=opened.precision,
    )
    classifier = opened.network.classifier
    fitted = TauNorm(
        taus(recipe.tau_norm), bias=recipe.tau_norm.bias, folds=recipe.tau_norm.folds, seed=recipe.seed
    ).fit(
        torch.from_numpy(np.array(features.features)),
        torch.from_numpy(features.labels),
        classifier.weight.detach().cpu(),
        None if classifier.bias is None else classifier.bias.detach().cpu(),
        counts=torch.from_numpy(opened.counts),
        many=recipe.eval.many,
        few=recipe.eval.few,
    )
    return _write(opened, fitted)


def taus(options: TauNormOptions) -> list[float]:
    """The grid, both ends included."""
    number = int(np.floor((options.stop - options.start) / options.step + 1e-9)) + 1
    if number < 1:
        raise UserError(f"tau_norm.stop={options.stop:g} is less than tau_norm.start={options.start:g}.")
    return [round(options.start + index * options.step, 10) for index in range(number)]


def _write(opened: OpenedModel, fitted: TauNorm) -> Recalibrated:
    recipe = opened.recipe
    folder = unused_path(recipe.output.tau_root / opened.run_folder.name)
    tau = None if fitted.chosen_is_unmodified_ else float(fitted.tau_)
    summary = {"tau": tau, "bias": recipe.tau_norm.bias, "checkpoint": opened.checkpoint.folder, **fitted.summary_}
    checkpoint = folder / "best_model"
    _save(opened, fitted, tau, checkpoint)
    write_table(folder / "tau_norm.csv", fitted.table_)
    tau_curve(fitted.table_, folder / "tau_norm.png", chosen=tau)
    write_json(folder / "summary.json", summary)
    say(f"recalibrated: {'the unmodified model is best' if tau is None else f'tau {tau:g}'}; written to {folder}")
    return Recalibrated(folder, checkpoint, tau, summary, fitted.table_)


def _save(opened: OpenedModel, fitted: TauNorm, tau: float | None, folder: Path) -> None:
    model = dict(opened.checkpoint.model)
    model["classifier.weight"] = fitted.weight_.to(model["classifier.weight"])
    if fitted.bias_ is not None:
        model["classifier.bias"] = fitted.bias_.to(model["classifier.bias"])
    facts = {name: value for name, value in opened.checkpoint.manifest.items() if name != "files"}
    facts["calibration"] = {
        "method": "tau_norm",
        "tau": 0.0 if tau is None else tau,
        "bias": "keep" if tau is None else opened.recipe.tau_norm.bias,
        "unmodified": tau is None,
        "from_checkpoint_sha256": opened.checkpoint.weights_hash,
    }
    # No optimizer state: these weights are no point of any training run, so they finetune but never resume.
    save_checkpoint(folder, model, {}, facts)
    load_checkpoint(folder)
