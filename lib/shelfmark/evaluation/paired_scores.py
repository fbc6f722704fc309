"""Scores of several models on the same items, and the intervals of their differences. Legend: N items, C classes.

Every resample takes the same items for all models, so that the difficulty of an item cancels in the difference. Source
of the percentile bootstrap: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from shelfmark.core.rng import numpy_generator
from shelfmark.core.score_names import is_better_low
from shelfmark.core.types import Counts
from shelfmark.ops.bootstrap import Interval, percentile_interval
from shelfmark.ops.class_metrics import GROUPS
from shelfmark.ops.rank_metrics import mean_or_none

_BINS = 15
_ROUNDING = 5e-7
"""Half an image in a million: probabilities in another order of the classes differ in their last digits."""

Statistic = Callable[[np.ndarray], np.ndarray]
"""(N,) float64, how often each item stands in a sample -> (scores,) float64, NaN for one that cannot be given."""


@dataclass(frozen=True)
class PairedScore:
    """One score of each model.

    values: None where there is none. intervals: 95%, of the values. differences, difference_intervals: of the values
    less that of the first model; None for the first.
    """

    name: str
    values: tuple[float | None, ...]
    intervals: tuple[Interval, ...]
    differences: tuple[float | None, ...]
    difference_intervals: tuple[Interval, ...]

    def verdict(self, model: int) -> str:
        """better, worse, `unclear` where the interval of the difference has 0 inside, `equal` where nothing differs."""
        interval = self.difference_intervals[model]
        if interval is None:
            return "unclear"
        low, high = (-interval[1], -interval[0]) if is_better_low(self.name) else interval
        if low > -_ROUNDING and high < _ROUNDING:
            return "equal"
        return "better" if low > _ROUNDING else "worse" if high < -_ROUNDING else "unclear"


def class_statistic(
    places: np.ndarray, confidence: np.ndarray, labels: np.ndarray, counts: Counts | None, many: int, few: int
) -> Statistic:
    """The `core.score_names.CLASS_SCORES` of a sample of one model's answers.

    places: (N,) place of the label among the logits, 0 where the answer is right. confidence: (N,) probability of the
    answer. labels: (N,) in 0..C-1. counts: (C,) training images, for the groups as in `group_accuracies`.
    """
    classes, inside = np.unique(labels, return_inverse=True)
    is_right, is_near = (places == 0).astype(np.float64), (places < 5).astype(np.float64)
    groups = _groups(classes, counts, many, few)
    edges = np.arange(1, _BINS, dtype=np.float64) / _BINS
    bins, gap = np.searchsorted(edges, confidence, side="left"), is_right - confidence

    def scores(times: np.ndarray) -> np.ndarray:
        total = times.sum()
        of_class = np.bincount(inside, times, len(classes))
        with np.errstate(invalid="ignore", divide="ignore"):
            accuracy = np.bincount(inside, times * is_right, len(classes)) / of_class
            top1, top5 = times @ is_right / total, times @ is_near / total
            error = np.abs(np.bincount(bins, times * gap, _BINS)).sum() / total
        mean = _mean(accuracy)
        return np.array([top1, top5, mean, 1 - mean, *(_mean(accuracy[one]) for one in groups), error])

    return scores


def query_statistic(values: np.ndarray) -> Statistic:
    """The means over the queries of a sample. values: (N, scores), without NaN."""
    columns = values.astype(np.float64)
    return lambda times: times @ columns / times.sum()


def paired_scores(
    names: Sequence[str], statistics: Sequence[Statistic], num_items: int, seed: int = 0, resamples: int = 1000
) -> list[PairedScore]:
    """The scores of each model, the first being the baseline, with percentile intervals over resamples of the items.

    statistics: one a model, over the same items; each gives the scores that `names` lists. A resample that cannot give
    a score, such as one without a class of a group, is left out of the score's interval.
    """
    whole = np.stack([one(np.ones(num_items)) for one in statistics]) if num_items else _nothing(statistics, names)
    found = np.empty((resamples, *whole.shape))
    generator = numpy_generator(seed, "bootstrap")
    for values in found if num_items else ():
        drawn = np.bincount(generator.integers(num_items, size=num_items), minlength=num_items).astype(np.float64)
        for model, one in enumerate(statistics):
            values[model] = one(drawn)
    if not num_items:
        found[:] = np.nan
    return [_paired(name, whole[:, place], found[:, :, place]) for place, name in enumerate(names)]


def _paired(name: str, whole: np.ndarray, resampled: np.ndarray) -> PairedScore:
    """whole: (models,). resampled: (resamples, models)."""
    models = range(len(whole))
    return PairedScore(
        name,
        tuple(_known(whole[model]) for model in models),
        tuple(percentile_interval(resampled[:, model]) for model in models),
        tuple(_known(whole[model] - whole[0]) if model else None for model in models),
        tuple(percentile_interval(resampled[:, model] - resampled[:, 0]) if model else None for model in models),
    )


def _groups(classes: np.ndarray, counts: Counts | None, many: int, few: int) -> list[np.ndarray]:
    """Which of the classes, (classes,) bool, are in each group; none where the training images are not known."""
    if counts is None:
        return [np.zeros(len(classes), dtype=bool)] * len(GROUPS)
    images = np.asarray(counts)[classes]
    return [images > many, (images <= many) & (images >= few), images < few]


def _mean(accuracy: np.ndarray) -> float:
    """The mean of what is known, by the arithmetic of `ops.class_metrics`; NaN of nothing."""
    mean = mean_or_none(torch.from_numpy(accuracy))
    return np.nan if mean is None else mean


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _nothing(statistics: Sequence[Statistic], names: Sequence[str]) -> np.ndarray:
    return np.full((len(statistics), len(names)), np.nan)
