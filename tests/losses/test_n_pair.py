"""The N-pair loss against loops, pytorch-metric-learning, and values worked out by hand."""

from __future__ import annotations

import math
from functools import partial

import oracles_softmax as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_checks import WORKED, assert_equals_oracle, batches, loss_of, unit_rows
from pytorch_metric_learning import losses as peers

from shelfmark.losses.n_pair import NPairLoss


@settings(max_examples=30, deadline=None)
@given(batch=batches(), l2_weight=st.sampled_from([0.0, 0.02, 2.0]), length=st.sampled_from([1.0, 4.0]))
def test_value_and_gradient_equal_the_loops_for_any_labels(batch, l2_weight, length):
    batch = batch._replace(query=length * batch.query, gallery=length * batch.gallery)
    assert_equals_oracle(NPairLoss(l2_weight), partial(oracles.n_pair, l2_weight=l2_weight), batch)


def test_a_case_worked_out_by_hand():
    contrast = (math.log(1 + math.exp(0.0 - 0.6)) + math.log(1 + math.exp(0.8 - 0.6))) / 2
    assert float(NPairLoss()(*WORKED)) == pytest.approx(contrast, rel=1e-14)
    # Squared lengths 9, 9 and 0, and a row that has no label.
    x = torch.tensor([[3.0, 0.0], [0.0, 3.0], [0.0, 0.0], [5.0, 5.0]], dtype=torch.float64)
    value = NPairLoss(l2_weight=0.5)(x, torch.tensor([0, 0, 1, -1]))
    assert float(value) == pytest.approx(math.log(2) + 0.5 * (9 + 9 + 0) / 3, rel=1e-14)


def test_one_pair_a_class_is_the_loss_of_pytorch_metric_learning():
    x, labels = unit_rows(10), torch.arange(5).repeat(2)
    # Theirs compares anchors with positives alone, which are the second row of each class.
    batch = oracles.Batch(x[:5], labels[:5], x[5:], labels[5:], torch.arange(10, 15))
    expected = peers.NPairsLoss()(x[torch.arange(10).view(2, 5).T.flatten()], torch.arange(5).repeat_interleave(2))
    torch.testing.assert_close(loss_of(NPairLoss(), batch), expected, rtol=1e-12, atol=0)
