"""The lifted structured loss against loops over pairs, a case worked out by hand, and pytorch-metric-learning's."""

from __future__ import annotations

import math
from functools import partial

import oracles_pairs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_checks import Batch, assert_equals_oracle, assert_same, batches, rows_of, unit_rows, value_and_gradient
from pytorch_metric_learning import losses as peers
from pytorch_metric_learning.distances import LpDistance
from torch import Tensor

from shelfmark.losses.lifted_structure import LiftedStructureLoss


def lifted_by_loops(batch: Batch, margin: float = 1.0) -> Tensor:
    return oracles_pairs.lifted_structure(rows_of(batch), margin)


@settings(max_examples=30, deadline=None)
@given(batch=batches(exact=True), margin=st.sampled_from([1.0, 0.2, -1.5]))
def test_value_and_gradient_equal_the_loops_for_any_labels(batch, margin):
    assert_equals_oracle(LiftedStructureLoss(margin), partial(lifted_by_loops, margin=margin), batch, rtol=1e-9)


@pytest.mark.parametrize("margin", [1.0, 0.3])
def test_it_is_that_of_pytorch_metric_learning(margin):
    x, y = unit_rows(36, 6, seed=4), torch.tensor([row % 7 + row % 2 for row in range(36)])
    peer = peers.LiftedStructureLoss(neg_margin=margin, pos_margin=0, distance=LpDistance(normalize_embeddings=False))
    expected = value_and_gradient(peer, x, y)
    assert_same(value_and_gradient(LiftedStructureLoss(margin), x, y), expected, rtol=1e-7, atol=1e-10)


def test_a_case_worked_out_by_hand():
    # On a line: a pair at 0 and 1, a pair at 3 and 5.
    x = torch.tensor([[0.0], [1.0], [3.0], [5.0]], dtype=torch.float64)
    value = LiftedStructureLoss(2.0)(x, torch.tensor([0, 0, 1, 1]))
    push = math.exp(2 - 3) + math.exp(2 - 5) + math.exp(2 - 2) + math.exp(2 - 4)
    expected = ((1 + math.log(push)) ** 2 + (2 + math.log(push)) ** 2) / 2 / 2
    assert float(value) == pytest.approx(expected, rel=1e-12)


def test_a_pair_nearer_than_its_negatives_push_costs_nothing_and_is_counted():
    x = torch.tensor([[0.0], [0.1], [20.0], [29.0]], dtype=torch.float64)
    value = LiftedStructureLoss(1.0)(x, torch.tensor([0, 0, 1, 1]))
    push = math.exp(-19) + math.exp(-18.9) + math.exp(-28) + math.exp(-27.9)
    assert 9 + math.log(push) < 0
    assert float(value) == 0
    x[3] = 60.0
    push = math.exp(-19) + math.exp(-18.9) + math.exp(-59) + math.exp(-58.9)
    value = LiftedStructureLoss(1.0)(x, torch.tensor([0, 0, 1, 1]))
    assert float(value) == pytest.approx((40 + math.log(push)) ** 2 / 2 / 2, rel=1e-12)
