"""Temperature scaling: logits divided by one number, so that confidence is as great as accuracy.

Legend: N images, C classes, D embedding. Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017,
section 4.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from shelfmark.calibration.calibrated import Array, Calibrated, Linear, blocks, copied, rows_of
from shelfmark.calibration.folds import fold_rows, labelled, require_folds
from shelfmark.core.errors import UserError
from shelfmark.ops.calibration_metrics import reliability, top_probability

_MOST_STEPS = 200
_TOLERANCE = 1e-9  # relative, of the temperature
_ROUNDING = 1e-12  # relative, of slopes that would be 0 in exact arithmetic


class Temperature(Linear):
    """Logits z / T, with the T above 0 that minimises the mean negative log-likelihood (nll) of validation images.

    Predictions stay as they are. T is 1 where no finite T is best: every image is right, so that the nll falls with T
    down to 0; or the logits tell nothing of the labels, so that it falls with rising T or does not change.

    Learned: temperature_; weight_ and bias_, divided by it (None where it was fitted on logits); nll_before_ and
    ece_before_, of the images of `fit` with T = 1; nll_after_ and ece_after_, with temperature_.
    """

    temperature_: float
    nll_before_: float
    nll_after_: float
    ece_before_: float | None
    ece_after_: float | None

    def __init__(self, folds: int = 5, seed: int = 0) -> None:
        if folds < 2:
            raise UserError(f"folds={folds}: T is chosen on some folds and scored on another, so give 2.")
        self.folds = folds
        self.seed = seed

    def fit(self, logits: Array, labels: Array, weight: Tensor | None = None, bias: Tensor | None = None) -> Self:
        """logits: (N, C); with a weight (C, D) they are features (N, D). labels: (N,), -1 leaves an image out."""
        logits, labels = _labelled(logits, labels, weight)
        self._unmodified = Linear(copied(weight), copied(bias))
        self.temperature_ = best_temperature(self._unmodified, logits, labels)
        self.weight_, self.bias_ = (
            None if part is None else part / self.temperature_
            for part in (self._unmodified.weight_, self._unmodified.bias_)
        )
        self.nll_before_, self.ece_before_ = _scores(self._unmodified, logits, labels)
        self.nll_after_, self.ece_after_ = _scores(self, logits, labels)
        return self

    def logits(self, features: Array) -> Tensor:
        """(n, C). features: (n, D), or (n, C) logits where it was fitted on such."""
        return self._unmodified.logits(features) / self.temperature_

    def held_out(self, features: Array, labels: Array) -> Iterator[tuple[Tensor, Calibrated]]:
        """The images of each fold with the temperature of the other folds."""
        parts = fold_rows(labels, self.folds, self.seed)
        require_folds(torch.cat(parts), self.folds, "the temperature", "folds")
        wanted = torch.as_tensor(labels).cpu()
        for number, rows in enumerate(parts):
            others = torch.cat([part for other, part in enumerate(parts) if other != number])
            temperature = best_temperature(self._unmodified, rows_of(features, others), wanted[others])
            yield rows, _Divided(self._unmodified, temperature)


@dataclass(frozen=True, eq=False)
class _Divided(Calibrated):
    classifier: Linear
    temperature: float

    def logits(self, features: Array) -> Tensor:
        return self.classifier.logits(features) / self.temperature


def best_temperature(classifier: Linear, features: Array, labels: Tensor) -> float:
    """The T above 0 with the least mean nll of the classifier's logits / T; 1 where no finite T is best.

    features: (N, D). labels: (N,) in 0..C-1. The nll is convex in 1 / T: Newton's method between bounds, in float64,
    one pass over the features a step.
    """
    at_zero, spread = _end_slopes(classifier, features, labels)
    at_infinity = at_zero + spread
    if at_zero >= -_ROUNDING * spread or at_infinity <= _ROUNDING * spread:
        return 1.0
    low, high, inverse = 0.0, torch.inf, 1 / spread
    for _ in range(_MOST_STEPS):
        slope, curvature = _slope(classifier, features, labels, inverse)
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = inverse - slope / curvature if curvature > 0 else torch.inf
        if abs(step - inverse) <= _TOLERANCE * inverse:
            break
        # Where the nll is nearly a straight line, Newton's step leads anywhere.
        furthest = min(high, 10 * inverse)
        inverse = step if low < step < furthest else (low + furthest) / 2
    return 1 / inverse


def _end_slopes(classifier: Linear, features: Array, labels: Tensor) -> tuple[float, float]:
    """The slope of the mean nll in 1 / T where that is 0, and how much greater it is where that is infinite."""
    at_zero = spread = 0.0
    for logits, wanted in _blocks(classifier, features, labels):
        mean = logits.mean(dim=1)
        at_zero += float((mean - _at(logits, wanted)).sum())
        spread += float((-mean).sum())
    return at_zero / len(labels), spread / len(labels)


def _slope(classifier: Linear, features: Array, labels: Tensor, inverse: float) -> tuple[float, float]:
    """First and second derivative of the mean nll in 1 / T."""
    slope = curvature = 0.0
    for logits, wanted in _blocks(classifier, features, labels):
        probabilities = (inverse * logits).softmax(dim=1)
        mean = (probabilities * logits).sum(dim=1)
        slope += float((mean - _at(logits, wanted)).sum())
        curvature += float((probabilities * (logits - mean[:, None]).square()).sum())
    return slope / len(labels), curvature / len(labels)


def _scores(classifier: Calibrated, features: Array, labels: Tensor) -> tuple[float, float | None]:
    """The mean nll and the ECE."""
    nll, confidences, hits = 0.0, [], []
    for logits, wanted in _blocks(classifier, features, labels):
        nll -= float(_at(logits.log_softmax(dim=1), wanted).sum())
        confidence, predicted = top_probability(logits)
        confidences.append(confidence)
        hits.append(predicted == wanted)
    return nll / len(labels), reliability(torch.cat(confidences), torch.cat(hits)).expected_error


def _blocks(classifier: Calibrated, features: Array, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(n, C) float64 logits, less the greatest of each row, and their (n,) labels."""
    num_classes = classifier.logits(features[:1]).shape[1]
    for block in blocks(len(labels), num_classes):
        logits = classifier.logits(features[block]).double()
        if not logits.isfinite().all():
            raise UserError("temperature: the logits hold NaN or infinity. Take an earlier checkpoint.")
        yield logits - logits.amax(dim=1, keepdim=True), labels[block].to(logits.device)


def _at(values: Tensor, labels: Tensor) -> Tensor:
    return values.gather(1, labels[:, None])[:, 0]


def _labelled(logits: Array, labels: Array, weight: Tensor | None) -> tuple[Array, Tensor]:
    num_columns, num_classes = (None, logits.shape[-1]) if weight is None else (weight.shape[1], len(weight))
    return labelled(logits, labels, num_columns, num_classes, "temperature")
