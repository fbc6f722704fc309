"""The ranked list loss against loops, pytorch-metric-learning, and values worked out by hand."""

from __future__ import annotations

import math
from functools import partial

import oracles_softmax as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_checks import LABELS, WORKED, assert_equals_oracle, batches, unit_rows, value_and_gradient
from pytorch_metric_learning import losses as peers

from shelfmark.losses.ranked_list import RankedListLoss


@settings(max_examples=30, deadline=None)
@given(
    batch=batches(),
    distances=st.sampled_from([(0.4, 1.2), (0.0, 1.0), (0.5, 0.5), (0.2, 3.0)]),
    temperatures=st.sampled_from([(10.0, 0.0), (0.0, 5.0), (3.0, 3.0)]),
    balance=st.sampled_from([0.5, 0.0, 1.0, 0.2]),
)
def test_value_and_gradient_equal_the_loops_for_any_labels(batch, distances, temperatures, balance):
    oracle = partial(
        oracles.ranked_list,
        margin=distances[0],
        boundary=distances[1],
        negative_temperature=temperatures[0],
        positive_temperature=temperatures[1],
        balance=balance,
    )
    assert_equals_oracle(RankedListLoss(*distances, *temperatures, balance), oracle, batch)


def test_a_case_worked_out_by_hand():
    # The distances are sqrt(0.8) between the positives, sqrt(2), which is beyond the boundary, and sqrt(0.4).
    pull, push = math.sqrt(0.8) - 0.8, 1.2 - math.sqrt(0.4)
    expected = (0.7 * pull + (0.7 * pull + 0.3 * push) + 0.3 * push) / 3
    assert float(RankedListLoss(balance=0.3)(*WORKED)) == pytest.approx(expected, rel=1e-13)


def test_the_weights_share_out_a_gradient_of_length_1():
    # On a line, row 0 has negatives at distances 0.5 and 1 on its right. All other pairs are of one class or beyond.
    x = torch.tensor([[0.0], [0.5], [1.0]], dtype=torch.float64)
    loss = RankedListLoss(negative_temperature=2.0, balance=1.0)
    value, gradient = value_and_gradient(loss, x, torch.tensor([0, 1, 1]))
    near, far = math.exp(2 * 0.7), math.exp(2 * 0.2)
    row_0 = (near * 0.7 + far * 0.2) / (near + far)
    assert float(value) == pytest.approx((row_0 + 0.7 + 0.2) / 3, rel=1e-13)
    # Row 0 as a query is pushed by 1 in all; as a negative by 1 each from rows 1 and 2.
    expected = [1 + 1 + 1, -near / (near + far) - 1, -far / (near + far) - 1]
    assert gradient[:, 0].tolist() == pytest.approx([slope / 3 for slope in expected], rel=1e-12)


def test_pairs_on_the_right_side_of_their_distance_cost_nothing():
    x = 2 * torch.eye(2, dtype=torch.float64)[[0, 0, 1, 1]]
    value, gradient = value_and_gradient(RankedListLoss(), x, torch.tensor([0, 0, 1, 1]))
    assert value == 0
    assert gradient.abs().max() == 0


def test_its_value_is_that_of_pytorch_metric_learning():
    x, labels = unit_rows(12, 3, seed=1), torch.tensor([0, 1, 2, 0, 1, 0, 2, 0, 1, 2, 1, 0])
    ours = RankedListLoss(0.4, 1.2, negative_temperature=4.0, positive_temperature=2.0, balance=0.3)
    theirs = peers.RankedListLoss(0.4, Tn=4, imbalance=0.3, alpha=1.2, Tp=2)
    # They add 1e-5 to each of the 12 columns' weights.
    torch.testing.assert_close(ours(x, labels), theirs(x, labels), rtol=2e-4, atol=0)


def test_moving_all_rows_together_changes_nothing():
    x, labels = unit_rows(len(LABELS)), torch.tensor(LABELS)
    value, gradient = value_and_gradient(RankedListLoss(), x, labels)
    moved, moved_gradient = value_and_gradient(RankedListLoss(), x + 1.5, labels)
    torch.testing.assert_close(moved, value, rtol=1e-11, atol=0)
    torch.testing.assert_close(moved_gradient, gradient, rtol=1e-8, atol=1e-10)


def test_a_steep_temperature_stays_finite():
    x, labels = unit_rows(len(LABELS), seed=3).float(), torch.tensor(LABELS)
    value, gradient = value_and_gradient(RankedListLoss(negative_temperature=1e4), x, labels)
    assert value.isfinite()
    assert gradient.isfinite().all()
