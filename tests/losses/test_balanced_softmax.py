"""Balanced softmax against loops and values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import oracles_longtail as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.losses.balanced_softmax import BalancedSoftmax
from shelfmark.losses.cross_entropy import CrossEntropy

COUNTS = [100, 50, 20, 10, 5, 2]


def value_and_gradient(loss, logits, labels):
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, labels)
    value.backward()
    return float(value.detach()), logits.grad


def random_logits(num_rows: int, seed: int) -> torch.Tensor:
    return 3 * torch.randn(num_rows, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=25, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 5), min_size=1, max_size=6),
    weight=st.sampled_from([None, [1.0, 2.0, 0.5, 3.0, 0.25, 4.0]]),
    seed=st.integers(0, 10**6),
)
def test_value_and_gradient_equal_the_loops(labels, weight, seed):
    logits = random_logits(len(labels), seed)
    loss = BalancedSoftmax(COUNTS, None if weight is None else torch.tensor(weight))
    value, gradient = value_and_gradient(loss, logits, torch.tensor(labels))
    expected, expected_gradient = oracles.mean_over_rows(
        lambda z, label: oracles.balanced_softmax(z, label, COUNTS), logits.numpy(), labels, weight
    )
    assert value == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-8, atol=1e-12)


def test_logits_without_an_opinion_cost_the_surprise_of_the_class_s_share():
    for label, count in enumerate(COUNTS):
        value = BalancedSoftmax(COUNTS)(torch.zeros(1, 6, dtype=torch.float64), torch.tensor([label]))
        assert float(value) == pytest.approx(-math.log(count / 187), rel=1e-12)


def test_scaling_all_counts_changes_nothing():
    logits, labels = random_logits(8, seed=1), torch.arange(8) % 6
    value, gradient = value_and_gradient(BalancedSoftmax(COUNTS), logits, labels)
    scaled, scaled_gradient = value_and_gradient(BalancedSoftmax([1000 * n for n in COUNTS]), logits, labels)
    assert scaled == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(scaled_gradient, gradient, rtol=1e-10, atol=1e-15)


def test_equal_counts_are_cross_entropy():
    logits, labels = random_logits(8, seed=2), torch.arange(8) % 6
    value, gradient = value_and_gradient(BalancedSoftmax([7] * 6), logits, labels)
    expected, expected_gradient = value_and_gradient(CrossEntropy(), logits, labels)
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-10, atol=1e-15)


def test_a_class_without_images_counts_as_one_with_a_single_image():
    logits, labels = random_logits(6, seed=3), torch.arange(6)
    empty = value_and_gradient(BalancedSoftmax([100, 50, 20, 0, 5, 2]), logits, labels)
    single = value_and_gradient(BalancedSoftmax([100, 50, 20, 1, 5, 2]), logits, labels)
    assert math.isfinite(empty[0])
    assert empty[0] == pytest.approx(single[0], rel=1e-12)
    np.testing.assert_allclose(empty[1], single[1], rtol=1e-10, atol=1e-15)


def test_inputs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"counts has 6 class counts, the logits have 5 classes"):
        BalancedSoftmax(COUNTS)(torch.zeros(2, 5), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"counts must be finite and not negative"):
        BalancedSoftmax([1, -1])
