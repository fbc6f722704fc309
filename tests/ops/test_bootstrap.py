from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from shelfmark.ops.bootstrap import mean_intervals, percentile_interval


def test_an_interval_holds_the_asked_share() -> None:
    assert percentile_interval(np.arange(101.0), level=0.9) == pytest.approx((5, 95))
    assert percentile_interval(np.array([np.nan, 2.0])) == (2, 2)
    assert percentile_interval(np.array([np.nan])) is None


def test_mean_intervals_agree_with_scipy() -> None:
    values = np.random.default_rng(0).random((60, 2)) ** 2
    found = mean_intervals(values, resamples=4000)
    for column, interval in zip(values.T, found):
        expected = bootstrap((column,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1))
        assert interval == pytest.approx(tuple(expected.confidence_interval), abs=0.01)


def test_intervals_depend_on_the_seed_alone_and_are_paired() -> None:
    values = np.random.default_rng(0).random((40, 1))
    assert mean_intervals(values, 50, seed=3) == mean_intervals(values, 50, seed=3)
    assert mean_intervals(values, 50, seed=3) != mean_intervals(values, 50, seed=4)
    first, second = mean_intervals(np.hstack([values, values]), 50)
    assert first == second


def test_no_items_have_no_interval() -> None:
    assert mean_intervals(np.empty((0, 2))) == [None, None]
    assert mean_intervals(np.ones((5, 1))) == [(1, 1)]
    with pytest.raises(ValueError, match=r"expected \(N, C\)"):
        mean_intervals(np.ones(3))
