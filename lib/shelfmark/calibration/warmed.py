"""A temperature on top of another recalibration, so that its probabilities mean what they say.

Legend: N images, C classes, D embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor

from shelfmark.calibration.calibrated import Calibrated
from shelfmark.calibration.folds import fold_rows, labelled
from shelfmark.calibration.temperature import Divided, Temperature
from shelfmark.core.types import Array


class Warmed(Calibrated):
    """The logits of a fitted method, divided by one temperature; a class that is never chosen stays so.

    Learned: temperature_, and fold_temperatures_, for each fold the temperature of the other folds.
    """

    temperature_: float
    fold_temperatures_: list[float]

    def __init__(self, method: Calibrated, folds: int = 5, seed: int = 0) -> None:
        self.method, self.folds, self.seed = method, folds, seed

    def fit(self, features: Array, labels: Array) -> Self:
        """features (N, D), labels (N,): val images. Those of classes that the method never chooses teach nothing."""
        features, labels = labelled(features, labels, None, None, "temperature")
        possible = self.method.logits(features[:1])[0].isfinite().cpu()
        places = torch.where(possible, possible.cumsum(0) - 1, -1)
        on_top = Temperature(self.folds, self.seed)
        on_top.fit_on(_Columns(self.method, possible), features, places[labels])
        self.temperature_, self.fold_temperatures_ = on_top.temperature_, on_top.fold_temperatures_
        return self

    def logits(self, features: Array) -> Tensor:
        return self.method.logits(features) / self.temperature_

    def held_out(self, features: Array, labels: Array) -> Iterator[tuple[Tensor, Calibrated]]:
        """The images of each fold, by the method without them and the temperature of the other folds."""
        folds = fold_rows(labels, self.folds, self.seed)
        for rows, classifier in self.method.held_out(features, labels):
            for fold, temperature in zip(folds, self.fold_temperatures_, strict=True):
                both = rows[torch.isin(rows, fold)]
                if len(both):
                    yield both, Divided(classifier, temperature)


class _Columns(Calibrated):
    """The logits of some classes alone. columns: (C,) bool."""

    def __init__(self, method: Calibrated, columns: Tensor) -> None:
        self.method, self.columns = method, columns

    def logits(self, features: Array) -> Tensor:
        logits = self.method.logits(features)
        return logits if bool(self.columns.all()) else logits[:, self.columns.to(logits.device)]
