"""The Recall@k surrogate against loops and values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_checks import SEEDS, assert_same, unit_rows, value_and_gradient

from shelfmark.losses import RecallAtK


@settings(max_examples=30, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 4), min_size=1, max_size=14),
    ks=st.sampled_from([(1,), (2, 5), (1, 2, 4, 8, 16)]),
    temperature=st.sampled_from([0.01, 0.3]),
    rank_temperature=st.sampled_from([0.1, 1.0, 5.0]),
    include_self=st.booleans(),
    seed=SEEDS,
)
def test_value_and_gradient_equal_the_loops_for_any_labels(
    labels, ks, temperature, rank_temperature, include_self, seed
):
    x = unit_rows(len(labels), 5, seed)
    options = (ks, temperature, rank_temperature, include_self)
    found = value_and_gradient(RecallAtK(*options), x, torch.tensor(labels))
    assert_same(found, oracles.recall_at_k(x.numpy(), labels, *options), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_coarser_vectors_are_computed_in_float32(dtype):
    x, labels = unit_rows(24, 16, seed=3).to(dtype), torch.arange(6).repeat(4)
    value, gradient = value_and_gradient(RecallAtK(temperature=0.1), x, labels)
    expected, expected_gradient = oracles.recall_at_k(x.double().numpy(), labels.tolist(), (1, 2, 4, 8, 16), 0.1, 1.0)
    assert value.dtype == torch.float32
    assert gradient.dtype == dtype
    assert float(value) == pytest.approx(expected, rel=1e-5)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-3
    np.testing.assert_allclose(gradient.double(), expected_gradient, atol=tolerance * np.abs(expected_gradient).max())


def test_a_case_worked_out_by_hand():
    # Far apart for the step of similarities: ranks are whole. Row 0 finds its positive (row 1) second, after row 2.
    x = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, -0.6]], dtype=torch.float64)
    labels = torch.tensor([3, 3, 5])
    sg = oracles.step
    # Row 1 to row 0: 0.6; to row 2: 0. So row 1 finds its positive first.
    for k, (first, second) in {1: (sg(0.0), sg(-1.0)), 2: (sg(1.0), sg(0.0))}.items():
        expected = 1 - (first + second) / 2
        assert float(RecallAtK((k,), temperature=0.01)(x, labels)) == pytest.approx(expected, abs=1e-7)


def test_with_sharp_steps_it_is_one_minus_recall():
    x, labels = unit_rows(60, 4, seed=5), torch.arange(12).repeat(5)
    similarity = (x @ x.T).fill_diagonal_(-math.inf)
    ranked = labels[similarity.argsort(1, descending=True)]
    hits = (ranked[:, :3] == labels[:, None]).double().sum(1)
    # Between two whole ranks a sharp step is not at its half.
    sharp = RecallAtK((3,), temperature=1e-5, rank_temperature=0.01)
    off_by_half_a_rank = (ranked[:, 2] == labels).double() / 2
    assert float(sharp(x, labels)) == pytest.approx(1 - float(((hits - off_by_half_a_rank) / 3).mean()), abs=1e-6)


def test_a_batch_of_one_class_still_orders_its_positives():
    x, labels = unit_rows(6, 4, seed=6), torch.zeros(6, dtype=torch.int64)
    value, gradient = value_and_gradient(RecallAtK((1,), temperature=0.1), x, labels)
    expected, expected_gradient = oracles.recall_at_k(x.numpy(), labels.tolist(), (1,), 0.1, 1.0)
    assert float(value) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-12)
    assert np.abs(expected_gradient).max() > 1e-3
