"""Exact bounds of the mean of shares in 0..1, by bets against it.

"The true mean is `share` or more" is an offer to bet: of a capital of 1 a part `stake` is laid on each value, which
multiplies the capital by 1 + stake (share - value) / (1 - share), never below 0. If the statement is true, no stake
makes the capital grow in expectation, so it reaches 1 / level with a probability of at most `level` (Ville 1939;
Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting"). The capital is divided among
many stakes before the first value, and added up after the last (Orabona and Jun 2024, on universal portfolios).

Beside the bound of Hoeffding and Bentkus (`binomial.mean_at_most`): of values that vary little, such as the shares of
wrong answers over forty boxes, fewer are needed; where all values are 0, a sixth more.
"""

from __future__ import annotations

import numpy as np

from shelfmark.calibration.promise.binomial import least_share

_NUM_STAKES = 64
# Most lie near 1: a capital grows the fastest there as long as few answers are wrong.
_STAKES = 1 - ((np.arange(_NUM_STAKES) + 0.5) / _NUM_STAKES) ** 3


def mean_at_most(values: np.ndarray, share: float, times: float = 1.0) -> float:
    """A p-value of "the true mean is `share` or more". values: (n,) independent, each in 0..1.

    times: 2 estimates the p-value of twice as many values, of which these are a fair sample.
    """
    if not len(values) or share <= 0:
        return 1.0
    if share >= 1:
        return 0.0
    gains = (share - np.clip(values, 0.0, 1.0)) / (1 - share)
    logs = times * np.log1p(_STAKES[:, None] * gains).sum(1)
    greatest = float(logs.max())
    log_capital = greatest + float(np.log(np.exp(logs - greatest).mean()))
    return float(np.exp(-max(log_capital, 0.0)))


def mean_upper(values: np.ndarray, confidence: float) -> float:
    """The mean that the true one exceeds with a probability of at most 1 - confidence; 1 without values."""
    return least_share(lambda share: mean_at_most(values, share), 1 - confidence)


def mean_lower(values: np.ndarray, confidence: float) -> float:
    """The mean that the true one falls short of with a probability of at most 1 - confidence; 0 without values."""
    return 1 - mean_upper(1 - values, confidence)


def fewest_values(share: float, confidence: float) -> int:
    """How many values, all of them 0, show that the mean is at most `share`: 69 for 5% at 95%."""
    low, high = 0, 1
    while mean_at_most(np.zeros(1), share, high) > 1 - confidence:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        is_enough = mean_at_most(np.zeros(1), share, middle) <= 1 - confidence
        low, high = (low, middle) if is_enough else (middle, high)
    return high
