"""Percentile bootstrap. Legend: N items, C classes or other scores.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
"""

from __future__ import annotations

import numpy as np

from shelfmark.core.rng import numpy_generator

Interval = tuple[float, float] | None


def percentile_interval(scores: np.ndarray, level: float = 0.95) -> Interval:
    """(low, high) between which the share `level` of the resampled scores lies; NaN is left out, None of nothing."""
    known = scores[~np.isnan(scores)]
    if not len(known):
        return None
    tail_percent = 50 * (1 - level)
    low, high = np.percentile(known, [tail_percent, 100 - tail_percent])
    return float(low), float(high)


def mean_intervals(
    values: np.ndarray, resamples: int = 1000, level: float = 0.95, seed: int = 0, role: str = "bootstrap"
) -> list[Interval]:
    """For each of the columns of values (N, C), without NaN, the interval of its mean over resamples of the N items.

    Items are drawn with replacement, the same for all columns. role: names the draw, as in `core.rng`.
    """
    if values.ndim != 2:
        raise ValueError(f"values are {values.shape}; expected (N, C)")
    if not len(values):
        return [None] * values.shape[1]
    generator = numpy_generator(seed, role)
    values = values.astype(np.float64)
    means = np.empty((resamples, values.shape[1]))
    for row in means:
        # How often each item is drawn stands for the drawn items: no copy of the values is made.
        times = np.bincount(generator.integers(len(values), size=len(values)), minlength=len(values))
        row[:] = times.astype(np.float64) @ values / len(values)
    return [percentile_interval(column, level) for column in means.T]
