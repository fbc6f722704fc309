"""Bounds of a share, against scipy, and the guarantee that they give, by exact sums over all outcomes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from shelfmark.calibration.promise import binomial


@pytest.mark.parametrize("trials", [1, 7, 299, 2000])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_bounds_are_those_of_clopper_and_pearson(trials: int, confidence: float) -> None:
    for count in sorted({0, 1, trials // 3, trials - 1, trials}):
        interval = stats.binomtest(count, trials).proportion_ci(2 * confidence - 1, method="exact")
        assert binomial.upper(count, trials, confidence) == pytest.approx(interval.high, abs=1e-9)
        assert binomial.lower(count, trials, confidence) == pytest.approx(interval.low, abs=1e-9)


def test_the_p_value_is_the_binomial_distribution() -> None:
    for count, trials, share in itertools.product((0, 3, 40), (40, 1000), (0.001, 0.05, 0.6)):
        expected = stats.binom.cdf(count, trials, share)
        assert binomial.at_most(count, trials, share) == pytest.approx(expected, rel=1e-9, abs=1e-290)


@pytest.mark.parametrize(("share", "confidence", "needed"), [(0.01, 0.95, 299), (0.05, 0.95, 59), (0.01, 0.99, 459)])
def test_the_fewest_answers_without_an_error(share: float, confidence: float, needed: int) -> None:
    assert binomial.fewest_trials(share, confidence) == needed
    assert binomial.upper(0, needed, confidence) <= share < binomial.upper(0, needed - 1, confidence)


def test_without_a_single_error_the_mean_is_bounded_as_a_count() -> None:
    for trials in (20, 59, 299):
        expected = binomial.upper(0, trials, 0.95)
        assert binomial.mean_upper(0.0, trials, 0.95) == pytest.approx(expected, abs=1e-9)


def test_nothing_counted_bounds_nothing() -> None:
    assert (binomial.lower(0, 0, 0.95), binomial.upper(0, 0, 0.95)) == (0, 1)
    assert (binomial.mean_lower(0, 0, 0.95), binomial.mean_upper(0, 0, 0.95)) == (0, 1)


@pytest.mark.parametrize("values", [(0.0, 0.25, 1.0), (0.0, 0.5), (0.1, 0.2)])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.4])
def test_the_bound_of_a_mean_is_wrong_as_rarely_as_it_says(values: tuple[float, ...], share: float) -> None:
    # Each product has one of these shares of its pictures answered; by exact sums, not by chance.
    trials, level = 15, 0.1
    top = values[-1]
    weights = np.array([1 - share / top, *[0.0] * (len(values) - 2), share / top])
    if values[0] > 0 or weights[0] < 0:
        weights = np.full(len(values), 1 / len(values))
    mean = float(np.dot(weights, values))
    wrong = 0.0
    for counts in _compositions(trials, len(values)):
        total = float(np.dot(counts, values))
        if binomial.mean_upper(total, trials, 1 - level) < mean:
            wrong += stats.multinomial.pmf(counts, trials, weights)
    assert wrong <= level


def _compositions(total: int, parts: int) -> list[tuple[int, ...]]:
    if parts == 1:
        return [(total,)]
    return [(first, *rest) for first in range(total + 1) for rest in _compositions(total - first, parts - 1)]


def test_the_p_value_of_a_mean_is_the_better_of_two_bounds_worked_by_hand() -> None:
    # 30 products, 1.5 of them accepted in sum, tested against 20%: KL(0.05 | 0.2) = 0.05 ln 0.25 + 0.95 ln(0.95 / 0.8).
    divergence = 0.05 * math.log(0.05 / 0.2) + 0.95 * math.log(0.95 / 0.8)
    hoeffding = math.exp(-30 * divergence)
    bentkus = math.e * float(stats.binom.cdf(2, 30, 0.2))
    assert binomial.mean_at_most(1.5, 30, 0.2) == pytest.approx(min(hoeffding, bentkus))
