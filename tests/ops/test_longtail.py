"""Class probabilities for sampling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.ops.longtail import reverse_probabilities, sampling_probabilities

COUNTS = [100, 50, 20, 10, 5, 2]


def test_square_root_sampling_matches_the_hand_check() -> None:
    expected = [0.3527, 0.2494, 0.1577, 0.1115, 0.0789, 0.0499]
    np.testing.assert_allclose(sampling_probabilities(COUNTS, power=0.5), expected, atol=5e-5)


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
