"""Log-sum-exp over chosen entries, against sums worked out term by term."""

from __future__ import annotations

import math

import pytest
import torch

from shelfmark.ops.log_sum_exp import log1p_exp, masked_log_sum_exp


def test_only_the_kept_entries_are_summed():
    logits = torch.tensor([[0.0, 1.0, 2.0], [3.0, 100.0, 5.0]], dtype=torch.float64)
    keep = torch.tensor([[True, False, True], [True, False, False]])
    expected = [math.log(1 + math.exp(2)), 3.0]
    assert masked_log_sum_exp(logits, keep).tolist() == pytest.approx(expected, rel=1e-14)


def test_a_row_that_keeps_none_is_minus_infinity_and_has_no_gradient():
    logits = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    sums = masked_log_sum_exp(logits, torch.tensor([[False, False], [True, True]]))
    assert sums[0] == -math.inf
    with torch.autograd.set_detect_anomaly(True):  # an error also for a NaN that the mask would hide
        sums.exp().sum().backward()
    expected = torch.tensor([[0.0, 0.0], [math.exp(3), math.exp(4)]])
    torch.testing.assert_close(logits.grad, expected)


def test_the_gradient_is_the_softmax_of_the_kept_entries():
    logits = torch.tensor([[500.0, 500.0 + math.log(3), 900.0]], dtype=torch.float64, requires_grad=True)
    masked_log_sum_exp(logits, torch.tensor([[True, True, False]])).sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[0.25, 0.75, 0.0]], dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("size", "expected"), [((0, 0), []), ((2, 0), [-math.inf, -math.inf])])
def test_rows_without_entries_are_empty_sums(size, expected):
    logits = torch.zeros(size, requires_grad=True)
    sums = masked_log_sum_exp(logits, torch.zeros(size, dtype=torch.bool))
    assert sums.tolist() == expected
    sums.exp().sum().backward()
    assert logits.grad.shape == size


@pytest.mark.parametrize("x", [-700.0, -40.0, -1.0, 0.0, 1.0, 19.0, 21.0, 30.0, 700.0])
def test_log1p_exp_keeps_all_digits_and_its_slope_is_the_sigmoid(x):
    point = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    value = log1p_exp(point)
    value.backward()
    expected = max(x, 0) + math.log1p(math.exp(-abs(x)))
    assert float(value.detach()) == pytest.approx(expected, rel=1e-15)
    assert float(point.grad) == pytest.approx(1 / (1 + math.exp(-x)), rel=1e-14)


def test_log1p_exp_is_0_at_minus_infinity_with_a_slope_of_0():
    point = torch.tensor([-math.inf, -1e30], requires_grad=True)
    value = log1p_exp(point)
    value.sum().backward()
    assert value.tolist() == [0, 0]
    assert point.grad.tolist() == [0, 0]
