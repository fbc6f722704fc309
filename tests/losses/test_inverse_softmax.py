"""Inverse softmax against loops and values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import oracles_experts as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles_longtail import mean_over_rows

from shelfmark.losses.balanced_softmax import BalancedSoftmax
from shelfmark.losses.inverse_softmax import InverseSoftmax

COUNTS = [100, 2, 20, 10, 50, 5]


def value_and_gradient(loss, logits, labels):
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, labels)
    value.backward()
    return value.detach(), logits.grad


def random_logits(num_rows: int, seed: int) -> torch.Tensor:
    return 3 * torch.randn(num_rows, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=25, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 5), min_size=1, max_size=6),
    strength=st.sampled_from([0.0, 1.0, 2.0]),
    weight=st.sampled_from([None, [1.0, 2.0, 0.5, 3.0, 0.25, 4.0]]),
    seed=st.integers(0, 10**6),
)
def test_value_and_gradient_equal_the_loops(labels, strength, weight, seed):
    logits = random_logits(len(labels), seed)
    loss = InverseSoftmax(COUNTS, strength, None if weight is None else torch.tensor(weight))
    value, gradient = value_and_gradient(loss, logits, torch.tensor(labels))
    expected, expected_gradient = mean_over_rows(
        lambda z, label: oracles.inverse_softmax(z, label, COUNTS, strength), logits.numpy(), labels, weight
    )
    assert float(value) == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-8, atol=1e-12)
    single, single_gradient = value_and_gradient(loss, logits.float(), torch.tensor(labels))
    assert single.dtype == torch.float32
    assert float(single) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    np.testing.assert_allclose(single_gradient, expected_gradient, rtol=1e-3, atol=1e-5)


def test_logits_without_an_opinion_cost_what_was_worked_out_by_hand():
    # Shares 3/4 and 1/4, reversed 1/4 and 3/4: factors of 3/4 / (1/4)^2 = 12 and 1/4 / (3/4)^2 = 4/9.
    zeros = torch.zeros(1, 2, dtype=torch.float64)
    value = InverseSoftmax([3, 1], strength=2.0)(zeros, torch.tensor([1]))
    assert float(value) == pytest.approx(math.log(1 + 12 / (4 / 9)), rel=1e-12)


def test_strength_0_is_balanced_softmax_and_equal_counts_are_cross_entropy():
    logits, labels = random_logits(8, seed=1), torch.arange(8) % 6
    expected = float(BalancedSoftmax(COUNTS)(logits, labels))
    assert float(InverseSoftmax(COUNTS, strength=0.0)(logits, labels)) == pytest.approx(expected, rel=1e-12)
    expected = float(torch.nn.functional.cross_entropy(logits, labels))
    assert float(InverseSoftmax([7] * 6)(logits, labels)) == pytest.approx(expected, rel=1e-12)


def test_the_best_logits_are_those_of_the_reversed_shares_to_the_power():
    # Where the rows are the training set, the mean loss has its minimum where the softmax with the adjustment is pi.
    loss, counts = InverseSoftmax([6, 3, 1], strength=1.0), [6, 3, 1]
    labels = torch.tensor([0] * 6 + [1] * 3 + [2])
    best = torch.tensor([1.0, 3.0, 6.0], dtype=torch.float64).log().expand(10, 3)
    _, gradient = value_and_gradient(loss, best, labels)
    np.testing.assert_allclose(gradient.sum(0), 0, atol=1e-14)
    assert sum(counts) == len(labels)


def test_classes_with_equally_many_images_are_treated_alike_wherever_they_stand():
    adjustment = InverseSoftmax([8, 1, 8, 2, 1]).adjustment
    assert adjustment[0] == adjustment[2]
    assert adjustment[1] == adjustment[4]
    order = torch.tensor([4, 2, 0, 1, 3])
    moved = InverseSoftmax(torch.tensor([8, 1, 8, 2, 1])[order]).adjustment
    torch.testing.assert_close(moved, adjustment[order], rtol=1e-12, atol=1e-12)


def test_a_class_without_images_counts_as_one_with_a_single_image():
    logits, labels = random_logits(6, seed=3), torch.arange(6)
    empty = value_and_gradient(InverseSoftmax([100, 50, 20, 0, 5, 2]), logits, labels)
    single = value_and_gradient(InverseSoftmax([100, 50, 20, 1, 5, 2]), logits, labels)
    assert math.isfinite(float(empty[0]))
    torch.testing.assert_close(empty[1], single[1], rtol=1e-9, atol=1e-12)
