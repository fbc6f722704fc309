"""The focal loss against loops and values worked out by hand."""

from __future__ import annotations

import math
from functools import partial

import oracles_longtail as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_checks import ROW_LABELS, SEEDS, WEIGHTS, assert_equals_loops, random_logits

from shelfmark.losses.cross_entropy import CrossEntropy
from shelfmark.losses.focal import FocalLoss


@settings(max_examples=25, deadline=None)
@given(labels=ROW_LABELS, gamma=st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]), weight=WEIGHTS, seed=SEEDS)
def test_value_and_gradient_equal_the_loops(labels, gamma, weight, seed):
    logits = random_logits(len(labels), seed=seed)
    assert_equals_loops(FocalLoss(gamma, weight), partial(oracles.focal, gamma=gamma), labels, logits)


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


@pytest.mark.parametrize(
    ("gamma", "dtype"), [(0.1, torch.float32), (0.5, torch.float64), (1.0, torch.float32), (2.0, torch.float64)]
)
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
