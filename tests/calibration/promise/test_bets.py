"""Bounds of a mean by bets: how often they are wrong, by exact sums over all outcomes, and what they need."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats

from shelfmark.calibration.promise import bets, binomial


@pytest.mark.parametrize("values", [(0.0, 0.25, 1.0), (0.0, 1.0), (0.0, 0.3), (0.02, 0.1)])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.4])
def test_the_bounds_are_wrong_as_rarely_as_they_say(values: tuple[float, ...], share: float) -> None:
    number, level = 14, 0.1
    top = values[-1]
    weights = np.array([1 - min(1.0, share / top), *[0.0] * (len(values) - 2), min(1.0, share / top)])
    mean = float(np.dot(weights, values))
    too_low = too_high = 0.0
    for counts in itertools.product(range(number + 1), repeat=len(values)):
        chance = stats.multinomial.pmf(counts, number, weights) if sum(counts) == number else 0.0
        if chance > 0:
            drawn = np.repeat(values, counts)
            too_low += chance * (bets.mean_upper(drawn, 1 - level) < mean)
            too_high += chance * (bets.mean_lower(drawn, 1 - level) > mean)
    assert too_low <= level
    assert too_high <= level


def test_the_p_value_is_one_over_the_capital_that_all_stakes_leave_worked_by_hand() -> None:
    values, share = np.array([0.0, 0.5, 0.1]), 0.2
    gains = [(0.2 - 0.0) / 0.8, (0.2 - 0.5) / 0.8, (0.2 - 0.1) / 0.8]

    def capital(part: float) -> float:
        stake = 1 - part**3
        return math.prod(1 + stake * gain for gain in gains)

    expected = 1 / integrate.quad(capital, 0, 1)[0]
    assert bets.mean_at_most(values, share) == pytest.approx(min(1.0, expected), rel=1e-3)


def test_the_true_mean_makes_no_capital_grow_in_expectation() -> None:
    # Over all outcomes of three draws of a value that is 0, 0.4 or 1: E[1 / p] is at most 1 if the statement is true.
    values, weights = np.array([0.0, 0.4, 1.0]), np.array([0.7, 0.2, 0.1])
    mean = float(values @ weights)
    for share in (mean, 0.5 * mean, 0.1 * mean):
        expected = sum(
            math.prod(weights[list(rows)]) / bets.mean_at_most(values[list(rows)], share)
            for rows in itertools.product(range(3), repeat=3)
        )
        # A capital below 1 counts as 1, since no p-value is above it.
        below = sum(
            math.prod(weights[list(rows)])
            for rows in itertools.product(range(3), repeat=3)
            if bets.mean_at_most(values[list(rows)], share) == 1
        )
        assert expected <= 1 + below


def test_values_that_vary_little_need_far_fewer_than_by_counts() -> None:
    values = np.tile([0.0, 0.02, 0.04], 50)
    assert bets.mean_at_most(values, 0.05) < 0.05 < binomial.mean_at_most(float(values.sum()), len(values), 0.05)


def test_the_order_of_the_values_changes_nothing_and_more_values_of_a_kind_say_more() -> None:
    values = np.random.default_rng(0).beta(1, 30, 90)
    assert bets.mean_at_most(values, 0.06) == pytest.approx(bets.mean_at_most(values[::-1], 0.06))
    twice = bets.mean_at_most(np.tile(values, 2), 0.06)
    assert twice == pytest.approx(bets.mean_at_most(values, 0.06, times=2))
    assert twice < bets.mean_at_most(values, 0.06)


@pytest.mark.parametrize(("share", "confidence", "needed"), [(0.05, 0.95, 69), (0.01, 0.95, 352), (0.35, 0.95, 9)])
def test_the_fewest_values_without_an_error(share: float, confidence: float, needed: int) -> None:
    assert bets.fewest_values(share, confidence) == needed
    assert bets.mean_upper(np.zeros(needed), confidence) <= share < bets.mean_upper(np.zeros(needed - 1), confidence)


def test_no_value_bounds_nothing_and_the_ends_are_told() -> None:
    nothing = np.zeros(0)
    assert (bets.mean_lower(nothing, 0.95), bets.mean_upper(nothing, 0.95)) == (0, 1)
    assert bets.mean_at_most(np.zeros(9), 0.0) == 1
    assert bets.mean_at_most(np.ones(9), 1.0) == 0
    assert bets.mean_lower(np.ones(500), 0.95) > 0.99
