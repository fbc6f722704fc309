"""Logit adjustment in training, against loops, balanced softmax and cross-entropy."""

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
from shelfmark.losses.logit_adjusted import LogitAdjusted

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
    tau=st.sampled_from([0.0, 0.5, 1.0, 2.5]),
    weight=st.sampled_from([None, [1.0, 2.0, 0.5, 3.0, 0.25, 4.0]]),
    seed=st.integers(0, 10**6),
)
def test_value_and_gradient_equal_the_loops(labels, tau, weight, seed):
    logits = random_logits(len(labels), seed)
    loss = LogitAdjusted(COUNTS, tau, None if weight is None else torch.tensor(weight))
    value, gradient = value_and_gradient(loss, logits, torch.tensor(labels))
    expected, expected_gradient = oracles.mean_over_rows(
        lambda z, label: oracles.logit_adjusted(z, label, COUNTS, tau), logits.numpy(), labels, weight
    )
    assert value == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-8, atol=1e-12)


def test_three_to_one_is_evened_out_by_a_prior_of_one_to_three():
    # Shares 1/4 and 3/4: to the power 2 they are 1 to 9, against odds of 3 to 1.
    logits = torch.tensor([[math.log(3.0), 0.0]], dtype=torch.float64)
    assert float(LogitAdjusted([1, 3])(logits, torch.tensor([0]))) == pytest.approx(math.log(2), rel=1e-12)
    assert float(LogitAdjusted([1, 3], 2.0)(logits, torch.tensor([0]))) == pytest.approx(math.log(4), rel=1e-12)


@pytest.mark.parametrize("counts", [COUNTS, [100, 50, 0, 10, 5, 2]])
def test_tau_one_is_balanced_softmax(counts):
    logits, labels = random_logits(8, seed=1), torch.arange(8) % 6
    value, gradient = value_and_gradient(LogitAdjusted(counts), logits, labels)
    expected, expected_gradient = value_and_gradient(BalancedSoftmax(counts), logits, labels)
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize(("counts", "tau"), [(COUNTS, 0.0), ([7] * 6, 1.5)])
def test_tau_zero_and_equal_counts_are_cross_entropy(counts, tau):
    logits, labels = random_logits(8, seed=2), torch.arange(8) % 6
    value, gradient = value_and_gradient(LogitAdjusted(counts, tau), logits, labels)
    expected, expected_gradient = value_and_gradient(CrossEntropy(), logits, labels)
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-10, atol=1e-15)


def test_an_option_without_meaning_is_refused():
    with pytest.raises(ValueError, match=r"tau=-1.0 must be a finite number, 0 or above"):
        LogitAdjusted(COUNTS, -1.0)
    with pytest.raises(ValueError, match=r"counts must have one dimension"):
        LogitAdjusted([COUNTS])
