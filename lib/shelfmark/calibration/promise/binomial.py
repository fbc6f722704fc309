"""Exact bounds of a share, from what was counted.

Clopper and Pearson 1934 for counts. For the mean of shares that lie in 0..1, Hoeffding 1963 and Bentkus 2004, as Bates
et al. 2021 join them ("Distribution-Free, Risk-Controlling Prediction Sets", section 3.1): with all shares 0 the bound
is that of Clopper and Pearson.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

_STEPS = 60


def at_most(count: int, trials: int, share: float) -> float:
    """P(X <= count) for X binomial (trials, share): the p-value of "the true share is `share` or more"."""
    if count >= trials or share <= 0:
        return 1.0
    if count < 0 or share >= 1:
        return 0.0
    successes, factorials = np.arange(count + 1), _log_factorials(trials)
    ways = factorials[trials] - factorials[: count + 1] - factorials[trials - successes]
    logs = ways + successes * math.log(share) + (trials - successes) * math.log1p(-share)
    greatest = logs.max()
    return min(1.0, float(np.exp(logs - greatest).sum() * math.exp(greatest)))


def upper(count: int, trials: int, confidence: float) -> float:
    """The share that the true one exceeds with a probability of at most 1 - confidence; 1 without trials."""
    return least_share(lambda share: at_most(count, trials, share), 1 - confidence)


def lower(count: int, trials: int, confidence: float) -> float:
    """The share that the true one falls short of with a probability of at most 1 - confidence; 0 without trials."""
    return 1 - upper(trials - count, trials, confidence)


def mean_at_most(total: float, trials: int, share: float) -> float:
    """A p-value of "the true mean is `share` or more", from `trials` independent values in 0..1 whose sum is total."""
    if not trials or share <= 0:
        return 1.0
    mean = min(max(total / trials, 0.0), 1.0)
    if mean >= share:
        return 1.0
    if share >= 1:
        return 0.0
    hoeffding = math.exp(-trials * _divergence(mean, share))
    # What rounding adds to a sum of shares must not count as one more.
    bentkus = math.e * at_most(math.ceil(total - 1e-9), trials, share)
    return min(1.0, hoeffding, bentkus)


def mean_upper(total: float, trials: int, confidence: float) -> float:
    """As `upper`, for the mean of values in 0..1."""
    return least_share(lambda share: mean_at_most(total, trials, share), 1 - confidence)


def mean_lower(total: float, trials: int, confidence: float) -> float:
    """As `lower`, for the mean of values in 0..1."""
    return 1 - mean_upper(trials - total, trials, confidence)


def fewest_trials(share: float, confidence: float) -> int:
    """How many trials, none of them counted, show that the share is at most `share`: 299 for 1% at 95%."""
    return max(1, math.ceil(math.log(1 - confidence) / math.log1p(-share) - 1e-9)) if share < 1 else 1


def least_share(p_value: Callable[[float], float], level: float) -> float:
    """The least share whose p-value is at most the level; p-values fall as the share rises."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if p_value(middle) <= level else (middle, high)
    return high


def _divergence(mean: float, share: float) -> float:
    """Kullback-Leibler divergence of two coins."""
    part = mean * math.log(mean / share) if mean > 0 else 0.0
    return part + ((1 - mean) * math.log((1 - mean) / (1 - share)) if mean < 1 else 0.0)


@lru_cache(maxsize=64)
def _log_factorials(last: int) -> np.ndarray:
    """(last + 1,) the logarithms of 0! to last!; a search for a bound asks for the same ones at each step."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, last + 1)))])
