"""The recalibrations of `shelfmark calibrate`, fitted for a model. Legend: N images, C classes, D embedding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shelfmark.calibration import (
    CRT,
    LWS,
    Calibrated,
    Linear,
    LogitAdjustment,
    NearestClassMean,
    PCSoftmax,
    TauNorm,
    Temperature,
)
from shelfmark.calibration.ncm import FORMS
from shelfmark.core.contracts import Embeddings
from shelfmark.core.errors import UserError
from shelfmark.core.types import Array
from shelfmark.models.heads.unit_rows import unit_rows
from shelfmark.recipe.tree import TauNormOptions
from shelfmark.runtime.recalibration import classifier_tensors
from shelfmark.runtime.trained_model import TrainedModel

UNMODIFIED = "unmodified"
LEARN_FROM_TRAINING = ("ncm", "lws", "crt")


class OnDirections(Calibrated):
    """A fitted method that sees each feature divided by its length, as a cosine classifier does."""

    def __init__(self, method: Calibrated) -> None:
        self.method = method

    def logits(self, features: Array) -> Tensor:
        return self.method.logits(unit_rows(torch.as_tensor(features)))

    def held_out(self, features: Array, labels: Array) -> Iterator[tuple[Tensor, Calibrated]]:
        for rows, classifier in self.method.held_out(unit_rows(torch.as_tensor(features)), labels):
            yield rows, OnDirections(classifier)


@dataclass(frozen=True)
class CalibrationInputs:
    """The features that methods learn from. train: None if no method needs it. target_prior: (C,) for PC softmax."""

    model: TrainedModel
    val: Embeddings
    train: Embeddings | None
    target_prior: np.ndarray

    @property
    def is_cosine(self) -> bool:
        return self.model.recipe.model.classifier.type == "cosine"

    @property
    def training(self) -> Embeddings:
        assert self.train is not None, "only methods of LEARN_FROM_TRAINING ask for it"
        return self.train

    @cached_property
    def classifier(self) -> tuple[Tensor, Tensor | None]:
        """Weight (C, D) and bias (C,) or None that map `seen` features to logits."""
        weight, bias = classifier_tensors(self.model)
        return (
            (self.model.recipe.model.classifier.scale * unit_rows(weight), None) if self.is_cosine else (weight, bias)
        )

    @cached_property
    def seen(self) -> Array:
        """(N, D) val features as the classifier sees them."""
        return unit_rows(torch.as_tensor(self.val.features)) if self.is_cosine else self.val.features

    def of_seen(self, method: Calibrated) -> Calibrated:
        """A method that was fitted on `seen` features, wrapped for features as they are stored."""
        return OnDirections(method) if self.is_cosine else method


def unmodified(given: CalibrationInputs) -> Calibrated:
    """The classifier as it was trained."""
    return given.of_seen(Linear(*given.classifier))


def require_row_lengths(model: TrainedModel, method: str) -> None:
    """Raises a UserError where the lengths of the classifier's rows mean nothing."""
    if model.recipe.model.classifier.type == "cosine":
        raise UserError(f"{method} rescales the rows of a linear classifier; a cosine classifier's have no length.")


def fit_tau_norm(model: TrainedModel, val: Embeddings) -> TauNorm:
    """The sweep over the val features, by the options under `tau_norm`."""
    recipe = model.recipe
    weight, bias = classifier_tensors(model)
    options = recipe.tau_norm
    return TauNorm(taus(options), bias=options.bias, folds=options.folds, seed=recipe.seed).fit(
        val.features,
        torch.from_numpy(val.labels),
        weight,
        bias,
        counts=torch.from_numpy(model.counts),
        many=recipe.eval.many,
        few=recipe.eval.few,
    )


def taus(options: TauNormOptions) -> list[float]:
    """The grid, both ends included."""
    number = int(np.floor((options.stop - options.start) / options.step + 1e-9)) + 1
    if number < 1:
        raise UserError(f"tau_norm.stop={options.stop:g} is less than tau_norm.start={options.start:g}.")
    return [round(options.start + index * options.step, 10) for index in range(number)]


def calibration_facts(model: TrainedModel, fitted: TauNorm) -> dict[str, object]:
    """The facts about the fit for the manifest of the recalibrated checkpoint."""
    unmodified = fitted.chosen_is_unmodified_
    return {
        "method": "tau_norm",
        "tau": float(fitted.tau_),
        "bias": "keep" if unmodified else model.recipe.tau_norm.bias,
        "unmodified": unmodified,
    }


def temperature_helps(fitted: Mapping[str, Calibrated]) -> bool:
    """Whether a temperature was fitted and lowers the calibration error."""
    found = fitted.get("temperature")
    method = None if found is None else _itself(found)
    return isinstance(method, Temperature) and (method.ece_after_ or 0.0) < (method.ece_before_ or 0.0)


def _tau_norm(given: CalibrationInputs) -> dict[str, Calibrated]:
    require_row_lengths(given.model, "tau-norm")
    return {"tau_norm": fit_tau_norm(given.model, given.val)}


def _logit_adjustment(given: CalibrationInputs) -> dict[str, Calibrated]:
    recipe = given.model.recipe
    method = LogitAdjustment(given.model.counts, folds=recipe.calibrate.folds, seed=recipe.seed).fit(
        given.seen, given.val.labels, *given.classifier, many=recipe.eval.many, few=recipe.eval.few
    )
    return {"logit_adjustment": given.of_seen(method)}


def _pc_softmax(given: CalibrationInputs) -> dict[str, Calibrated]:
    for step in given.model.recalibrations:
        if step["method"] not in (UNMODIFIED, "temperature") and not step["unmodified"]:
            raise UserError(
                "PC softmax moves a classifier from the classes' shares in training to others, but this checkpoint has"
                f" left the former: {step['method']} made it. Take the checkpoint that it was made from."
            )
    method = PCSoftmax(given.model.counts, given.target_prior)
    return {"pc_softmax": given.of_seen(method.fit(*given.classifier))}


def _ncm(given: CalibrationInputs) -> dict[str, Calibrated]:
    features, labels, num_classes = given.training.features, given.training.labels, given.model.num_classes
    return {f"ncm_{form}": NearestClassMean(form).fit(features, labels, num_classes) for form in FORMS}


def _temperature(given: CalibrationInputs) -> dict[str, Calibrated]:
    _require_all_classes(given, "temperature")
    recipe = given.model.recipe
    method = Temperature(folds=recipe.calibrate.folds, seed=recipe.seed)
    return {"temperature": given.of_seen(method.fit(given.seen, given.val.labels, *given.classifier))}


def _lws(given: CalibrationInputs) -> dict[str, Calibrated]:
    require_row_lengths(given.model, "LWS")
    _require_all_classes(given, "LWS")
    method = LWS(seed=given.model.recipe.seed)
    return {"lws": method.fit(given.training.features, given.training.labels, *given.classifier)}


def _crt(given: CalibrationInputs) -> dict[str, Calibrated]:
    model = given.model
    method = CRT(seed=model.recipe.seed)
    features, labels = given.training.features, given.training.labels
    return {"crt": method.fit(features, labels, model.num_classes, device=model.precision.device)}


def _require_all_classes(given: CalibrationInputs, method: str) -> None:
    """Raises a UserError where an earlier recalibration excluded classes, as the nearest class mean excludes classes
    without images."""
    _, bias = given.classifier
    never = 0 if bias is None else int(bias.isneginf().sum())
    if never:
        raise UserError(
            f"{method} cannot follow on a classifier that never chooses {never} of the {given.model.num_classes}"
            " classes: their bias is -inf. Take the checkpoint that it was made from."
        )


METHODS: Mapping[str, Callable[[CalibrationInputs], dict[str, Calibrated]]] = {
    "tau_norm": _tau_norm,
    "logit_adjustment": _logit_adjustment,
    "pc_softmax": _pc_softmax,
    "ncm": _ncm,
    "temperature": _temperature,
    "lws": _lws,
    "crt": _crt,
}
"""Each function returns its fitted methods by name, for features as they are stored. UserError: it cannot be fitted."""


@dataclass(frozen=True)
class StoredMethod:
    """A method in the form of a checkpoint. classifier: `weight_` None keeps the weight. scale: the new one of a cosine
    classifier. calibration: facts for the manifest.
    """

    classifier: Linear
    calibration: dict[str, object]
    scale: float | None = None

    def divided(self, temperature: float, scale: float | None) -> StoredMethod:
        """With all logits divided by the temperature. scale: that of a cosine classifier as it is, else None."""
        told = {**self.calibration, "temperature": temperature, "unmodified": False}
        if scale is not None:
            return StoredMethod(self.classifier, told, (self.scale or scale) / temperature)
        parts = (self.classifier.weight_, self.classifier.bias_)
        return StoredMethod(Linear(*(None if part is None else part / temperature for part in parts)), told)


def stored(given: CalibrationInputs, name: str, method: Calibrated) -> StoredMethod | None:
    """The method in the form of a checkpoint; None where the checkpoint's kind of classifier cannot hold it.

    A linear classifier holds any method that is linear in the features. A cosine classifier has neither bias nor row
    lengths, so it holds only another scale.
    """
    fitted = _itself(method)
    calibration = _told(given.model, name, fitted)
    if given.is_cosine:
        if isinstance(fitted, Temperature):
            scale = given.model.recipe.model.classifier.scale / fitted.temperature_
            return StoredMethod(Linear(None), calibration, scale)
        return StoredMethod(Linear(None), calibration) if name == UNMODIFIED else None
    if isinstance(fitted, NearestClassMean) and fitted.form == "plain":
        return StoredMethod(Linear(fitted.weight_, fitted.bias_), calibration)
    return StoredMethod(fitted, calibration) if isinstance(fitted, Linear) else None


def learned(method: Calibrated) -> dict[str, Any]:
    """The learned numbers of a method, by name; empty for a method without few numbers, such as class means.

    fold_taus, fold_temperatures: for each fold the choice of the other folds; a tau of None is the unmodified
    classifier. least_scale, greatest_scale: of LWS's factors.
    """
    fitted = _itself(method)
    if isinstance(fitted, TauNorm):
        tau = None if fitted.chosen_is_unmodified_ else float(fitted.tau_)
        return {"tau": tau, "bias": fitted.bias, "fold_taus": fitted.fold_taus_}
    if isinstance(fitted, LogitAdjustment):
        return {"tau": fitted.tau_, "fold_taus": fitted.fold_taus_}
    if isinstance(fitted, Temperature):
        return {"temperature": fitted.temperature_, "fold_temperatures": fitted.fold_temperatures_}
    if isinstance(fitted, LWS):
        return {"least_scale": float(fitted.scales_.min()), "greatest_scale": float(fitted.scales_.max())}
    return {}


def learned_text(values: Mapping[str, Any]) -> str:
    """The main number of `learned` as text: tau 0.35."""
    if "tau" in values:
        return tau_text(values["tau"], without_bias=values.get("bias") == "zero")
    if "temperature" in values:
        return f"T {values['temperature']:.3g}"
    if "least_scale" in values:
        return f"{values['least_scale']:.2g} to {values['greatest_scale']:.2g}"
    return ""


def tau_text(tau: float | None, without_bias: bool) -> str:
    """tau 0.35; None is the unmodified classifier, from which tau 0 differs by the bias alone."""
    if tau is None:
        return "unmodified"
    return "no bias" if tau == 0 and without_bias else f"tau {tau:g}"


def _itself(method: Calibrated) -> Calibrated:
    """The fitted method itself, without the wrapper of `of_seen`."""
    return method.method if isinstance(method, OnDirections) else method


def _told(model: TrainedModel, name: str, fitted: Calibrated) -> dict[str, object]:
    if isinstance(fitted, TauNorm):
        return calibration_facts(model, fitted)
    told: dict[str, object] = {"method": name, "unmodified": name == UNMODIFIED}
    if isinstance(fitted, LogitAdjustment | Temperature):
        told |= {what: value for what, value in learned(fitted).items() if not what.startswith("fold_")}
    return told
