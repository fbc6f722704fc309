"""NT-Xent against loops, pytorch-metric-learning, and values worked out by hand."""

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

from shelfmark.losses.nt_xent import NTXentLoss


@settings(max_examples=30, deadline=None)
@given(batch=batches(), temperature=st.sampled_from([0.07, 0.5, 3.0]))
def test_value_and_gradient_equal_the_loops_for_any_labels(batch, temperature):
    assert_equals_oracle(NTXentLoss(temperature), partial(oracles.nt_xent, temperature=temperature), batch)


def test_a_case_worked_out_by_hand():
    first = math.log(1 + math.exp((0.0 - 0.6) / 0.5))
    second = math.log(1 + math.exp((0.8 - 0.6) / 0.5))
    assert float(NTXentLoss(0.5)(*WORKED)) == pytest.approx((first + second) / 2, rel=1e-14)


def test_other_positives_are_not_in_the_denominator():
    x, labels = torch.ones(4, 2, dtype=torch.float64), torch.tensor([0, 0, 0, 1])
    assert float(NTXentLoss()(x, labels)) == pytest.approx(math.log(2), rel=1e-14)


@pytest.mark.parametrize("temperature", [0.1, 0.7])
def test_it_is_the_loss_of_pytorch_metric_learning(temperature):
    x, labels = unit_rows(10, seed=1), torch.tensor([label for label in LABELS if label != -1])
    assert_equals_peer(NTXentLoss(temperature), peers.NTXentLoss(temperature), x, labels)


def test_only_differences_of_similarities_count():
    x, labels = unit_rows(len(LABELS)), torch.tensor(LABELS)
    value, gradient = value_and_gradient(NTXentLoss(), x, labels)
    # One coordinate more, the same in all rows, adds 9 to every similarity.
    shifted, shifted_gradient = value_and_gradient(NTXentLoss(), pad(x, (0, 1), value=3.0), labels)
    torch.testing.assert_close(shifted, value, rtol=1e-11, atol=0)
    torch.testing.assert_close(shifted_gradient[:, :-1], gradient, rtol=1e-9, atol=1e-11)
