"""Temperature scaling: logits divided by one number, so that confidence is as great as accuracy.

Legend: N images, C classes, D embedding. Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017,
section 4.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from shelfmark.calibration.calibrated import Calibrated, Linear, copied, rows_of
from shelfmark.calibration.folds import fold_rows, labelled, require_folds, stratified_folds
from shelfmark.calibration.row_terms import RowTerms, row_terms
from shelfmark.core.errors import UserError
from shelfmark.core.types import Array
from shelfmark.ops.calibration_metrics import reliability

_MOST_STEPS = 200
# The search ends after a relative step of 1 / T this small. Halley's steps shrink to about their third power.
_LAST_STEP = 1e-4
# The relative size of a slope that would be 0 in exact arithmetic.
_ROUNDING = 1e-12
_ROUGH_STRIDE = 16
_LEAST_ROUGH = 512  # images


class Temperature(Linear):
    """Logits z / T, with the T above 0 that minimises the mean negative log-likelihood (nll) of validation images.

    Predictions do not change. T is 1 where no finite T is best: every image is right, so the nll falls as T falls to 0;
    or the logits say nothing about the labels, so the nll falls as T rises, or stays the same.

    Learned: temperature_; weight_ and bias_, divided by it (None if fitted on logits); nll_before_ and ece_before_, of
    the images of `fit` with T = 1; nll_after_ and ece_after_, with temperature_; fold_temperatures_, for each fold the
    temperature of the other folds, empty where there are fewer images than folds.
    """

    temperature_: float
    nll_before_: float
    nll_after_: float
    ece_before_: float | None
    ece_after_: float | None
    fold_temperatures_: list[float]

    def __init__(self, folds: int = 5, seed: int = 0) -> None:
        if folds < 2:
            raise UserError(f"calibrate.folds={folds}: T is chosen on some folds and scored on another, so give 2.")
        self.folds = folds
        self.seed = seed

    def fit(self, logits: Array, labels: Array, weight: Tensor | None = None, bias: Tensor | None = None) -> Self:
        """logits: (N, C); with a weight (C, D) they are features (N, D). labels: (N,), -1 leaves an image out.

        All folds are fitted in the same passes over the images: two or three, and a few over every sixteenth.
        """
        logits, labels = _labelled(logits, labels, weight)
        classifier = Linear(copied(weight), copied(bias))
        self.fit_on(classifier, logits, labels)
        self.weight_, self.bias_ = (
            None if part is None else part / self.temperature_ for part in (classifier.weight_, classifier.bias_)
        )
        return self

    def fit_on(self, classifier: Calibrated, features: Array, labels: Tensor) -> Self:
        """As `fit`, for any classifier; weight_ and bias_ are then None. labels: (N,), -1 leaves an image out."""
        is_labelled = labels >= 0
        if not bool(is_labelled.all()):
            features, labels = rows_of(features, is_labelled.nonzero()[:, 0]), labels[is_labelled]
        self._unmodified = classifier
        everything, *of_folds = _fits(classifier, features, labels, self._members(labels))
        self.temperature_ = everything.temperature
        self.fold_temperatures_ = [fit.temperature for fit in of_folds]
        self.weight_ = self.bias_ = None
        self.nll_before_, self.ece_before_ = everything.scores_before
        self.nll_after_, self.ece_after_ = everything.scores
        return self

    def logits(self, features: Array) -> Tensor:
        """(n, C). features: (n, D), or (n, C) logits where it was fitted on such."""
        return self._unmodified.logits(features) / self.temperature_

    def held_out(self, features: Array, labels: Array) -> Iterator[tuple[Tensor, Calibrated]]:
        """The images of each fold with the temperature of the other folds."""
        parts = fold_rows(labels, self.folds, self.seed)
        require_folds(torch.cat(parts), self.folds, "the temperature", "calibrate.folds")
        for rows, temperature in zip(parts, self.fold_temperatures_, strict=True):
            yield rows, Divided(self._unmodified, temperature)

    def _members(self, labels: Tensor) -> list[Tensor]:
        """(N,) bool of each fit: all images, then all but each fold."""
        members = [torch.ones(len(labels), dtype=torch.bool)]
        if len(labels) >= self.folds:
            fold = torch.from_numpy(stratified_folds(labels.numpy(), self.folds, self.seed))
            members += [fold != number for number in range(self.folds)]
        return members


@dataclass(frozen=True, eq=False)
class Divided(Calibrated):
    """The logits of another classifier, divided by a number above 0."""

    classifier: Calibrated
    temperature: float

    def logits(self, features: Array) -> Tensor:
        return self.classifier.logits(features) / self.temperature


Scored = tuple[float, float | None]
"""The mean nll and the ECE of some images."""


class _Fit:
    """The search for the b = 1 / T above 0 with the least mean nll of some images; T = 1 where no finite T is best.

    The nll is convex in b. Halley's method between bounds, in float64: a step takes one pass over the images.
    """

    def __init__(self, member: Tensor, terms: RowTerms, start: float | None) -> None:
        self.member = member
        self.inverse = 1.0
        self._terms, self._known = terms, 1.0
        self.scores_before = self.scores
        self._low, self._high = 0.0, torch.inf
        # The slope of the mean nll where b is 0, and how much greater it is where b is infinite.
        at_zero = float((terms.mean - terms.own)[member].mean())
        spread = float(-terms.mean[member].mean())
        self.has_best = at_zero < -_ROUNDING * spread and at_zero + spread > _ROUNDING * spread
        self.is_over = not self.has_best
        if self.has_best:
            self.inverse = start or 1 / spread

    @property
    def temperature(self) -> float:
        return 1 / self.inverse

    @property
    def scores(self) -> Scored:
        """The scores at b = `inverse`, which is 1 until the search begins."""
        return _scores(self._terms, self.member, self.inverse, self._known)

    def step(self, terms: RowTerms) -> None:
        """Takes one step of the search. terms: computed at `inverse`."""
        here = self._known = self.inverse
        self._terms = terms
        first, curvature, third = (float(row[self.member].mean()) for row in terms.lse[here][1:])
        slope = first - float(terms.own[self.member].mean())
        self._low, self._high = (here, self._high) if slope < 0 else (self._low, here)
        divisor = 2 * curvature**2 - slope * third
        new = here - 2 * slope * curvature / divisor if curvature > 0 and divisor > 0 else torch.inf
        if abs(new - here) <= _LAST_STEP * here:
            self.inverse, self.is_over = new, True
            return
        # Where the nll is nearly a straight line, Halley's step may be of any size: then the bounds decide.
        furthest = min(self._high, 10 * here)
        self.inverse = new if self._low < new < furthest else (self._low + furthest) / 2


def _fits(classifier: Calibrated, features: Array, labels: Tensor, members: Sequence[Tensor]) -> list[_Fit]:
    """One search for each (N,) member, all in the same passes. features: (N, D). labels: (N,) in 0..C-1."""
    start = _rough_inverse(classifier, features, labels)
    terms = row_terms(classifier, features, labels, [1.0, *([start] if start else [])])
    fits = [_Fit(member, terms, start) for member in members]
    for _ in range(_MOST_STEPS):
        wanted = {fit.inverse for fit in fits if not fit.is_over}
        if not wanted:
            break
        if not wanted <= terms.lse.keys():
            terms = row_terms(classifier, features, labels, sorted(wanted))
        for fit in fits:
            if not fit.is_over:
                fit.step(terms)
    return fits


def _rough_inverse(classifier: Calibrated, features: Array, labels: Tensor) -> float | None:
    """The best b of every sixteenth image, right to about a percent, as a start; None for small sets."""
    if len(labels) < _ROUGH_STRIDE * _LEAST_ROUGH:
        return None
    rows = torch.arange(0, len(labels), _ROUGH_STRIDE)
    (fit,) = _fits(classifier, rows_of(features, rows), labels[rows], [torch.ones(len(rows), dtype=torch.bool)])
    return fit.inverse if fit.has_best else None


def _scores(terms: RowTerms, member: Tensor, inverse: float, known: float) -> Scored:
    """The scores of the member's images at b = inverse, from terms that were computed at b = known."""
    lse = terms.lse_near(inverse, known)[member]
    nll = float((lse - inverse * terms.own[member]).mean())
    return nll, reliability((-lse).exp().clamp(max=1), terms.hits[member]).expected_error


def _labelled(logits: Array, labels: Array, weight: Tensor | None) -> tuple[Array, Tensor]:
    num_columns, num_classes = (None, logits.shape[-1]) if weight is None else (weight.shape[1], len(weight))
    return labelled(logits, labels, num_columns, num_classes, "temperature")
