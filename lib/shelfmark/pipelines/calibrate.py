"""`shelfmark calibrate`: many recalibrations from one feature pass, compared on val; the best becomes a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shelfmark.calibration import Calibrated, Comparison, TauNorm, Warmed, compare
from shelfmark.calibration.comparison import held_out_predictions
from shelfmark.core.destinations import require_place
from shelfmark.core.errors import UserError, choose
from shelfmark.core.files import read_json, unused_path, write_json
from shelfmark.core.log import say, warn
from shelfmark.core.terminal import percent
from shelfmark.core.together import from_main, together
from shelfmark.core.wording import counted
from shelfmark.data.table import Table
from shelfmark.ops.calibration_metrics import reliability
from shelfmark.ops.class_metrics import Scores
from shelfmark.pipelines.evaluate import draw_recalibrated
from shelfmark.pipelines.tau_norm import write_sweep
from shelfmark.reports.tables import write_table
from shelfmark.runtime.calibration_methods import (
    LEARN_FROM_TRAINING,
    METHODS,
    UNMODIFIED,
    CalibrationInputs,
    StoredMethod,
    learned,
    learned_text,
    stored,
    temperature_helps,
    unmodified,
)
from shelfmark.runtime.model_card.written import write_card
from shelfmark.runtime.recalibration import recalibrated_bytes, run_features, save_recalibrated, warn_of_earlier
from shelfmark.runtime.splits import read_evaluation, read_model_splits, require_val
from shelfmark.runtime.trained_model import TrainedModel
from shelfmark.runtime.val_parts import choosing_of


@dataclass(frozen=True)
class Calibration:
    """checkpoint: the folder for test.py. It holds `saved`, the best of the methods that a checkpoint can hold.

    methods: one row a method, see `compare`, with its learned numbers as `learned`, and of the saved one the ece with a
    temperature on top, as `ece_with_temperature`. chosen: the best of all methods.
    cross_validated: scores of the choice. left_out: name -> why the method could not be fitted.
    """

    folder: Path
    checkpoint: Path
    methods: list[dict[str, Any]]
    chosen: str
    saved: str
    cross_validated: Scores
    left_out: dict[str, str]


@dataclass(frozen=True)
class FittedMethods:
    """methods: by name; of equally good methods the first is preferred. val: the images of `given.val`.

    left_out: name -> why the method could not be fitted.
    """

    given: CalibrationInputs
    val: Table
    methods: dict[str, Calibrated]
    left_out: dict[str, str]


def calibrate(model: TrainedModel, methods: Sequence[str] = ("all",), out: Path | None = None) -> Calibration:
    """Fits methods on stored features, scores each on val images that it has not learned from, and saves the best.

    methods: names of `METHODS`, or `all`. out: the folder; default `output.tau_root/<run>`, or the next free name.
    """
    place, what = out or model.recipe.output.tau_root / model.run_folder.name, "--out" if out else "output.tau_root:"
    size_bytes = recalibrated_bytes(model)
    folder = from_main(lambda: unused_path(require_place(place, what, is_folder=True, size_bytes=size_bytes)))
    wanted = _wanted(methods)
    given, val = _inputs(model, wanted)

    def fit() -> Calibration:
        fitted, left_out = _fit(given, wanted)
        return _best(folder, FittedMethods(given, val, fitted, left_out))

    return from_main(fit, "calibration")


def fit_methods(model: TrainedModel, methods: Sequence[str] = ("all",)) -> FittedMethods:
    """Fits the methods on the features of the checkpoint's run folder, which are computed if they are missing.

    methods: names of `METHODS`, or `all`. The unmodified classifier is always included.
    """
    wanted = _wanted(methods)
    given, val = _inputs(model, wanted)
    fitted, left_out = _fit(given, wanted)
    return FittedMethods(given, val, fitted, left_out)


def _best(folder: Path, fitted: FittedMethods) -> Calibration:
    """Chooses and writes the best method, with a temperature on top where that makes its probabilities better."""
    given = fitted.given
    model = given.model
    comparison = _compare(given, fitted.methods)
    storable = {name: kept for name, method in fitted.methods.items() if (kept := stored(given, name, method))}
    saved = comparison.chosen
    if saved not in storable:
        saved = _compare(given, {name: fitted.methods[name] for name in storable}).chosen
    kept, on_top = storable[saved], _temperature_on_top(given, saved, fitted.methods[saved])
    rows = _rows(comparison, fitted.methods, saved, on_top)
    if on_top:
        scale = model.recipe.model.classifier.scale if given.is_cosine else None
        kept = kept.divided(on_top.temperature, scale)
    result = Calibration(
        folder=folder,
        checkpoint=folder / "best_model",
        methods=rows,
        chosen=comparison.chosen,
        saved=saved,
        cross_validated=comparison.cross_validated,
        left_out=fitted.left_out,
    )
    _write(model, result, kept, fitted.methods.get("tau_norm"))
    [scores] = [row for row in rows if row["method"] == saved]
    images = counted(len(fitted.val), "validation image")
    write_card(result.checkpoint, scores, f"{images}, each by a fit of {saved} to others")
    draw_recalibrated(model, result.checkpoint, fitted.val, given.val)
    return result


def _inputs(model: TrainedModel, wanted: Sequence[str]) -> tuple[CalibrationInputs, Table]:
    """The inputs of the methods, and the images of val; every process takes part."""
    with together():
        target_prior = _target_prior(model)
        warn_of_earlier(model)
        val, train = _tables(model, wanted)
        val, name = choosing_of(model, val)
    val_features = run_features(model, val, name)
    train_features = None if train is None else run_features(model, train, "train")
    return CalibrationInputs(model, val_features, train_features, target_prior), val


def _wanted(methods: Sequence[str]) -> list[str]:
    named = [choose("--method", name, ["all", *METHODS]) for name in methods]
    return [name for name in METHODS if name in named or "all" in named]


def _tables(model: TrainedModel, wanted: Sequence[str]) -> tuple[Table, Table | None]:
    """The val images, and the training images if a method learns from them. No image is in both."""
    if not set(wanted) & set(LEARN_FROM_TRAINING):
        return require_val(read_evaluation(model)[0], "recalibration"), None
    splits = read_model_splits(model)
    return require_val(splits.val, "recalibration"), splits.train


def _target_prior(model: TrainedModel) -> np.ndarray:
    """(C,) shares or counts of the classes in the use of the model."""
    file, num_classes = model.recipe.calibrate.target_prior, model.num_classes
    if file is None:
        return np.ones(num_classes)
    try:
        prior = np.asarray(read_json(file), dtype=np.float64)
    except (TypeError, ValueError):
        prior = np.empty(0)
    if prior.shape != (num_classes,) or not np.isfinite(prior).all() or prior.min() < 0 or not prior.any():
        raise UserError(
            f"calibrate.target_prior={file} must hold a JSON list of {num_classes} numbers of 0 or above, not all 0:"
            " each class's share, or count, where the model is used."
        )
    return prior


def _fit(given: CalibrationInputs, wanted: Sequence[str]) -> tuple[dict[str, Calibrated], dict[str, str]]:
    """The fitted methods, in order of preference, and why others could not be fitted."""
    fitted: dict[str, Calibrated] = {UNMODIFIED: unmodified(given)}
    left_out: dict[str, str] = {}
    for name in wanted:
        began = time.perf_counter()
        try:
            fitted |= METHODS[name](given)
        except UserError as error:
            left_out[name] = str(error)
            continue
        say(f"{name}: fitted in {time.perf_counter() - began:.1f} s")
    if len(left_out) == len(wanted):
        raise UserError(" ".join(left_out.values()))
    for name, reason in left_out.items():
        warn(f"{name} is left out: {reason}")
    # A temperature changes no prediction, so it is preferred only if it improves the probabilities.
    if temperature_helps(fitted):
        fitted = {"temperature": fitted["temperature"], **fitted}
    return fitted, left_out


def _compare(given: CalibrationInputs, fitted: Mapping[str, Calibrated]) -> Comparison:
    model, recipe = given.model, given.model.recipe
    return compare(
        fitted,
        given.val.features,
        given.val.labels,
        model.num_classes,
        model.counts,
        many=recipe.eval.many,
        few=recipe.eval.few,
        folds=recipe.calibrate.folds,
        seed=recipe.seed,
    )


@dataclass(frozen=True)
class _OnTop:
    """ece: with it, on images by which neither the temperature nor the method was fitted."""

    temperature: float
    ece: float


def _temperature_on_top(given: CalibrationInputs, saved: str, method: Calibrated) -> _OnTop | None:
    """The temperature of the method that is saved; None where it would not lower its cross-validated ece."""
    if saved == "temperature":
        return None
    recipe, features, labels = given.model.recipe, given.val.features, torch.from_numpy(given.val.labels)
    warmed = Warmed(method, recipe.calibrate.folds, recipe.seed).fit(features, labels)
    before, after = (
        reliability(found.confidence, found.hits).expected_error or 0.0
        for found in (held_out_predictions(one, features, labels, given.model.num_classes) for one in (method, warmed))
    )
    if after >= before:
        return None
    say(
        f"{saved} gets a temperature of {warmed.temperature_:.3g} on top: expected calibration error {percent(before)},"
        f" with it {percent(after)}, cross-validated; predictions stay"
    )
    return _OnTop(warmed.temperature_, after)


def _rows(
    comparison: Comparison, fitted: Mapping[str, Calibrated], saved: str, on_top: _OnTop | None
) -> list[dict[str, Any]]:
    """The table, with the unmodified classifier in the first row, whatever its preference."""
    rows = []
    for row in comparison.table:
        method = str(row["method"])
        warmed = on_top if method == saved else None
        numbers = learned(fitted[method]) | ({"temperature_on_top": warmed.temperature} if warmed else {})
        rows.append({**row, "ece_with_temperature": warmed.ece if warmed else None, "learned": numbers})
    return sorted(rows, key=lambda row: row["method"] != UNMODIFIED)


def _write(model: TrainedModel, result: Calibration, kept: StoredMethod, swept: Calibrated | None) -> None:
    save_recalibrated(model, result.checkpoint, kept.classifier, kept.calibration, kept.scale)
    if isinstance(swept, TauNorm):
        write_sweep(swept, result.folder)
    table = [
        {**{name: value for name, value in row.items() if name != "learned"}, "learned": learned_text(row["learned"])}
        for row in result.methods
    ]
    write_table(result.folder / "calibration.csv", table)
    write_json(
        result.folder / "summary.json",
        {
            "checkpoint": model.checkpoint.folder,
            "chosen": result.chosen,
            "saved": result.saved,
            "cross_validated": result.cross_validated,
            "left_out": result.left_out,
            "methods": result.methods,
        },
    )
    classifier = model.recipe.model.classifier
    if result.saved != result.chosen:
        warn(
            f"{result.chosen} is best, but a checkpoint with a {classifier.type} classifier cannot hold it:"
            f" {result.saved} is saved, the best of the methods that it can hold"
        )
    if kept.classifier.bias_ is not None and not classifier.bias:
        say(f"{result.saved} needs a bias, which the classifier had not: the saved one has model.classifier.bias=true")
