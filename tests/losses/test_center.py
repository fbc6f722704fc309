"""Centre loss against loops and by hand."""

from __future__ import annotations

import numpy as np
import oracles_proxies as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shelfmark.losses.center import CenterLoss


def rows(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=15, deadline=None)
@given(labels=st.lists(st.integers(-1, 2), max_size=6), num_centres=st.integers(1, 3), seed=st.integers(0, 10**6))
def test_value_and_gradient_equal_the_loops(labels, num_centres, seed):
    vectors, weight = (
        rows(len(labels), 4, seed=seed).requires_grad_(),
        rows(3, num_centres, 4, seed=seed + 1).requires_grad_(),
    )
    value = CenterLoss()(vectors, torch.tensor(labels, dtype=torch.int64), weight)
    value.backward()
    x, w = vectors.detach().numpy(), weight.detach().numpy()
    assert float(value.detach()) == pytest.approx(oracles.center(x, labels, w), rel=1e-12)
    by_weight = oracles.gradient(lambda moved: oracles.center(x, labels, moved), w)
    by_vectors = oracles.gradient(lambda moved: oracles.center(moved, labels, w), x)
    np.testing.assert_allclose(weight.grad, by_weight, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(vectors.grad, by_vectors, rtol=1e-7, atol=1e-8)


def test_a_case_worked_out_by_hand():
    # Distances 5 and 1 from the centres of their classes; the row without label lies anywhere.
    vectors = torch.tensor([[3.0, 4.0], [1.0, 1.0], [9.0, 9.0]], dtype=torch.float64)
    weight = torch.tensor([[[0.0, 0.0]], [[0.0, 1.0]], [[5.0, 5.0]]], dtype=torch.float64, requires_grad=True)
    value = CenterLoss()(vectors, torch.tensor([0, 1, -1]), weight)
    value.backward()
    assert float(value.detach()) == (25 + 1) / 2 / 2
    # Each centre is drawn to its row, and a class that is not in the batch stays where it is.
    assert weight.grad.tolist() == [[[-1.5, -2.0]], [[-0.5, 0.0]], [[0.0, 0.0]]]


def test_a_row_is_drawn_to_the_nearest_of_its_classs_centres_alone():
    weight = torch.tensor([[[0.0], [10.0]]], requires_grad=True)
    value = CenterLoss()(torch.tensor([[8.0]]), torch.tensor([0]), weight)
    value.backward()
    assert float(value.detach()) == 2
    assert weight.grad.tolist() == [[[0.0], [2.0]]]


@pytest.mark.parametrize("labels", [[], [-1, -1]])
def test_without_labelled_row_loss_and_gradient_are_zero(labels):
    vectors, weight = rows(len(labels), 4, seed=1).requires_grad_(), rows(3, 1, 4, seed=2).requires_grad_()
    value = CenterLoss()(vectors, torch.tensor(labels, dtype=torch.int64), weight)
    value.backward()
    assert float(value.detach()) == 0
    assert not vectors.grad.any()
    assert not weight.grad.any()


def test_half_precision_is_computed_in_float32():
    vectors, weight, labels = rows(5, 8, seed=3), rows(3, 2, 8, seed=4), torch.tensor([0, 1, 2, 2, -1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = CenterLoss()(vectors.bfloat16(), labels, weight.float())
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(float(CenterLoss()(vectors.bfloat16().double(), labels, weight)), rel=1e-6)


def test_inputs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"not \(2, 3\) and \(2, 1, 4\)"):
        CenterLoss()(torch.zeros(2, 3), torch.tensor([0, 1]), torch.zeros(2, 1, 4))
    with pytest.raises(ValueError, match=r"labels lie in 0\.\.2; 2 classes"):
        CenterLoss()(torch.zeros(2, 3), torch.tensor([0, 2]), torch.zeros(2, 1, 3))
