"""Class probabilities for sampling, class weights, margins and priors."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.ops.longtail import (
    effective_number_weights,
    ldam_margins,
    log_prior,
    power_weights,
    reverse_probabilities,
    sampling_probabilities,
)

COUNTS = [100, 50, 20, 10, 5, 2]


def test_probabilities_weights_and_margins_match_the_hand_check() -> None:
    for found, expected in (
        (sampling_probabilities(COUNTS, power=0.5), [0.3527, 0.2494, 0.1577, 0.1115, 0.0789, 0.0499]),
        (effective_number_weights(COUNTS, 0.9999), [0.0685, 0.1367, 0.3411, 0.6819, 1.3635, 3.4083]),
        (ldam_margins(COUNTS, 0.5), [0.1880, 0.2236, 0.2812, 0.3344, 0.3976, 0.5]),
    ):
        np.testing.assert_allclose(found, expected, atol=5e-5)


def test_power_one_draws_images_uniformly_and_power_zero_draws_classes_uniformly() -> None:
    np.testing.assert_allclose(sampling_probabilities(COUNTS), np.array(COUNTS) / 187)
    np.testing.assert_allclose(sampling_probabilities(COUNTS, power=0), np.full(6, 1 / 6))


def test_progress_goes_from_the_images_to_the_classes() -> None:
    np.testing.assert_allclose(sampling_probabilities(COUNTS, progress=0.0), np.array(COUNTS) / 187)
    np.testing.assert_allclose(sampling_probabilities(COUNTS, progress=0.25), 0.75 * np.array(COUNTS) / 187 + 0.25 / 6)
    np.testing.assert_allclose(sampling_probabilities(COUNTS, progress=1.0), np.full(6, 1 / 6))


def test_reverse_sampling_is_proportional_to_the_largest_count_over_the_count() -> None:
    weights = np.array([1, 2, 5, 10, 20, 50])
    np.testing.assert_allclose(reverse_probabilities(COUNTS), weights / weights.sum())


@pytest.mark.parametrize("power", [1.0, 0.5, 0.0, -1.0])
def test_an_empty_class_is_never_drawn(power: float) -> None:
    probabilities = sampling_probabilities([4, 0, 9], power=power)
    expected = np.array([4.0, 9.0]) ** power
    assert float(probabilities[1]) == 0
    np.testing.assert_allclose(probabilities[[0, 2]], expected / expected.sum())
    assert float(sampling_probabilities([4, 0, 9], progress=0.5)[1]) == 0
    assert float(reverse_probabilities([4, 0, 9])[1]) == 0


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 10**7), min_size=1, max_size=40).filter(any),
    st.floats(-300, 300),
    st.floats(0, 1),
)
def test_any_counts_and_power_give_a_distribution(counts: list[int], power: float, progress: float) -> None:
    probabilities = sampling_probabilities(counts, power=power, progress=progress)
    assert probabilities.dtype == torch.float64
    assert bool((probabilities >= 0).all())
    assert float(probabilities.sum()) == pytest.approx(1)


def test_lists_arrays_and_tensors_of_any_number_type_are_taken_as_counts() -> None:
    expected = sampling_probabilities(COUNTS, power=0.5)
    for counts in (np.array(COUNTS), np.array(COUNTS, dtype=np.float32), torch.tensor(COUNTS)):
        assert torch.equal(sampling_probabilities(counts, power=0.5), expected)


@pytest.mark.parametrize(
    ("counts", "options", "text"),
    [
        ([], {}, "every class is empty"),
        ([0, 0], {}, "every class is empty"),
        ([1, -1], {}, "not negative"),
        ([1.0, float("nan")], {}, "finite"),
        ([[1, 2]], {}, "one dimension"),
        ([1, 2], {"progress": 1.5}, "progress=1.5"),
        ([1, 2], {"power": float("inf")}, "power=inf"),
    ],
)
def test_impossible_counts_are_refused(counts: list, options: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        sampling_probabilities(counts, **options)


def test_effective_number_weights_of_counts_so_small_can_be_worked_out() -> None:
    # 1 - 0.5^n is 1/2, 3/4, 7/8: the inverses 2, 4/3, 8/7 sum to 94/21.
    np.testing.assert_allclose(effective_number_weights([1, 2, 3], 0.5), np.array([42, 28, 24]) * 3 / 94, rtol=1e-14)


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.999999, 1 - 1e-12, 1 - 2.0**-53])
def test_effective_number_weights_lose_no_digits_near_one(beta: float) -> None:
    counts = [1, 3, 1000, 2_000_000]
    with localcontext() as context:
        context.prec = 60
        inverses = [1 / (1 - Decimal(beta) ** n) for n in counts]
        expected = [float(4 * inverse / sum(inverses)) for inverse in inverses]
    np.testing.assert_allclose(effective_number_weights(counts, beta), expected, rtol=1e-13)


def test_power_weights_are_inverse_powers_of_the_counts() -> None:
    for gamma in (0.0, 0.5, 1.0, 2.0):
        expected = np.array(COUNTS, dtype=float) ** -gamma
        np.testing.assert_allclose(power_weights(COUNTS, gamma), 6 * expected / expected.sum(), rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 10**7), min_size=1, max_size=40).filter(any),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 300),
)
def test_weights_sum_to_the_number_of_classes_and_a_class_without_images_has_none(
    counts: list[int], beta: float, gamma: float
) -> None:
    for weights in (effective_number_weights(counts, beta), power_weights(counts, gamma)):
        assert weights.dtype == torch.float64
        assert float(weights.sum()) == pytest.approx(len(counts))
        assert bool((weights >= 0).all())
        assert not weights[torch.tensor(counts) == 0].any()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 10**7), min_size=2, max_size=40), st.floats(0, 1, exclude_max=True))
def test_a_rarer_class_never_weighs_less(counts: list[int], beta: float) -> None:
    counts = sorted(counts)
    for weights in (effective_number_weights(counts, beta), power_weights(counts, 0.7), ldam_margins(counts, 0.5)):
        assert bool((weights[:-1] >= weights[1:] * (1 - 1e-12)).all())


def test_a_class_without_images_has_the_largest_margin_and_leaves_the_others_as_they_are() -> None:
    np.testing.assert_allclose(ldam_margins([32, 0, 2, 162], 0.6), [0.3, 0.6, 0.6, 0.2], rtol=1e-14)


def test_the_prior_is_the_share_of_the_images_and_finite_without_any() -> None:
    np.testing.assert_allclose(log_prior(COUNTS), np.log(np.array(COUNTS) / 187), rtol=1e-14)
    np.testing.assert_allclose(log_prior([4, 0, 6]), np.log([0.4, 0.1, 0.6]), rtol=1e-14)


@pytest.mark.parametrize("beta", [1.0, -0.1, float("nan")])
def test_a_beta_without_meaning_is_refused(beta: float) -> None:
    with pytest.raises(ValueError, match=rf"beta={beta} must be at least 0 and below 1"):
        effective_number_weights(COUNTS, beta)


@pytest.mark.parametrize("counts", [[0, 0], [-1, 2], [[1, 2]], [float("inf"), 1]])
def test_weights_margins_and_priors_refuse_impossible_counts(counts: list) -> None:
    for function in (log_prior, lambda n: ldam_margins(n, 0.5), lambda n: effective_number_weights(n, 0.9)):
        with pytest.raises(ValueError, match=r"counts"):
            function(counts)
