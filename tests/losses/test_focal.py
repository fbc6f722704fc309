"""The focal loss against loops and values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import oracles_longtail as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.losses.cross_entropy import CrossEntropy
from shelfmark.losses.focal import FocalLoss


@settings(max_examples=25, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 3), min_size=1, max_size=6),
    gamma=st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]),
    weight=st.sampled_from([None, [1.0, 2.0, 0.5, 3.0]]),
    seed=st.integers(0, 10**6),
)
def test_value_and_gradient_equal_the_loops(labels, gamma, weight, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = (3 * torch.randn(len(labels), 4, generator=generator, dtype=torch.float64)).requires_grad_()
    value = FocalLoss(gamma, None if weight is None else torch.tensor(weight))(logits, torch.tensor(labels))
    value.backward()
    expected, gradient = oracles.mean_over_rows(
        lambda z, label: oracles.focal(z, label, gamma), logits.detach().numpy(), labels, weight
    )
    assert float(value.detach()) == pytest.approx(expected, rel=1e-10, abs=1e-15)
    np.testing.assert_allclose(logits.grad, gradient, rtol=1e-8, atol=1e-12)


def test_a_row_at_three_to_one_costs_the_square_of_what_is_missing():
    logits, labels = torch.tensor([[math.log(3.0), 0.0]], dtype=torch.float64), torch.tensor([0])
    assert float(FocalLoss(2.0)(logits, labels)) == pytest.approx(math.log(4 / 3) / 16, rel=1e-12)
    assert float(FocalLoss(2.0)(logits, 1 - labels)) == pytest.approx(9 / 16 * math.log(4), rel=1e-12)


def test_class_weights_weigh_rows_and_leave_the_probability_as_it_is():
    # Both rows stand at p = 1/4 of their label. Were the weight in the exponent, they would fade unlike.
    logits = torch.tensor([[0.0, math.log(3.0)], [math.log(3.0), 0.0]], dtype=torch.float64)
    value = FocalLoss(2.0, torch.tensor([5.0, 1.0]))(logits, torch.tensor([0, 1]))
    assert float(value) == pytest.approx(9 / 16 * math.log(4), rel=1e-12)


def test_gamma_zero_is_cross_entropy():
    logits, labels = torch.randn(7, 3, generator=torch.Generator().manual_seed(1)), torch.arange(7) % 3
    assert torch.equal(FocalLoss(0.0)(logits, labels), CrossEntropy()(logits, labels))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 2.0])
def test_a_row_that_is_certain_has_no_loss_and_a_finite_gradient(gamma, dtype):
    logits = torch.tensor([[800.0, 0.0], [50.0, 0.0], [20.0, 0.0]], dtype=dtype).requires_grad_()
    value = FocalLoss(gamma)(logits, torch.zeros(3, dtype=torch.int64))
    value.backward()
    assert 0 <= float(value.detach()) < 1e-8
    assert bool(logits.grad.isfinite().all())
    assert float(logits.grad[0].abs().max()) == 0


def test_a_row_that_is_hopeless_keeps_all_of_its_loss():
    logits = torch.tensor([[-500.0, 0.0]]).requires_grad_()
    value = FocalLoss(2.0)(logits, torch.tensor([0]))
    value.backward()
    assert float(value.detach()) == 500
    assert logits.grad.tolist() == [[-1.0, 1.0]]
