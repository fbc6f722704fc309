"""Supervised contrastive learning against loops, pytorch-metric-learning, and values worked out by hand."""

from __future__ import annotations

import math
from functools import partial

import oracles_softmax as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_checks import LABELS, WORKED, assert_equals_oracle, assert_equals_peer, batches, unit_rows, value_and_gradient
from pytorch_metric_learning import losses as peers
from torch.nn.functional import pad

from shelfmark.losses.sup_con import SupConLoss


@settings(max_examples=30, deadline=None)
@given(batch=batches(), temperature=st.sampled_from([0.1, 0.5, 3.0]))
def test_value_and_gradient_equal_the_loops_for_any_labels(batch, temperature):
    assert_equals_oracle(SupConLoss(temperature), partial(oracles.sup_con, temperature=temperature), batch)


def test_a_case_worked_out_by_hand():
    first = -math.log(math.exp(0.6 / 0.5) / (math.exp(0.6 / 0.5) + math.exp(0.0)))
    second = -math.log(math.exp(0.6 / 0.5) / (math.exp(0.6 / 0.5) + math.exp(0.8 / 0.5)))
    assert float(SupConLoss(0.5)(*WORKED)) == pytest.approx((first + second) / 2, rel=1e-14)


def test_other_positives_are_in_the_denominator_and_queries_without_positive_are_left_out():
    x = torch.ones(5, 2, dtype=torch.float64)
    assert float(SupConLoss()(x, torch.tensor([0, 0, 0, 1, 2]))) == pytest.approx(math.log(4), rel=1e-14)


def test_a_query_s_positives_share_one_vote():
    # All similarities are 0 but that of rows 3 and 4, which is 1: the class of 3 gives 3 votes, that of 2 gives 2.
    x = torch.eye(4, dtype=torch.float64)[[0, 1, 2, 3, 3]]
    large, small = math.log(4), math.log(3 + math.e) - 1
    value = float(SupConLoss(1.0)(x, torch.tensor([0, 0, 0, 1, 1])))
    assert value == pytest.approx((3 * large + 2 * small) / 5, rel=1e-14)


@pytest.mark.parametrize("temperature", [0.1, 0.7])
def test_it_is_the_loss_of_pytorch_metric_learning(temperature):
    x, labels = unit_rows(10, seed=1), torch.tensor([label for label in LABELS if label != -1])
    assert_equals_peer(SupConLoss(temperature), peers.SupConLoss(temperature), x, labels)


def test_only_differences_of_similarities_count():
    x, labels = unit_rows(len(LABELS)), torch.tensor(LABELS)
    value, gradient = value_and_gradient(SupConLoss(), x, labels)
    # One coordinate more, the same in all rows, adds 9 to every similarity.
    shifted, shifted_gradient = value_and_gradient(SupConLoss(), pad(x, (0, 1), value=3.0), labels)
    torch.testing.assert_close(shifted, value, rtol=1e-11, atol=0)
    torch.testing.assert_close(shifted_gradient[:, :-1], gradient, rtol=1e-9, atol=1e-11)
