"""The circle loss over pairs, and pair CosFace, against loops, a peer, and values worked out by hand."""

from __future__ import annotations

import math
from functools import partial

import oracles_softmax as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_checks import (
    WORKED,
    assert_equals_oracle,
    assert_equals_peer,
    batches,
    unit_rows,
    value_and_gradient,
    whole_batch,
)
from pytorch_metric_learning import losses as peers
from torch.nn.functional import pad

from shelfmark.losses.circle import CircleLoss, PairCosFaceLoss

OPTIONS = st.sampled_from([(0.25, 128.0), (0.4, 80.0), (0.0, 2.0), (0.25, 32.0)])


@settings(max_examples=30, deadline=None)
@given(batch=batches(), options=OPTIONS)
def test_circle_equals_the_loops_for_any_labels(batch, options):
    margin, scale = options
    assert_equals_oracle(CircleLoss(margin, scale), partial(oracles.circle, margin=margin, scale=scale), batch)


@settings(max_examples=30, deadline=None)
@given(batch=batches(), options=OPTIONS)
def test_pair_cosface_equals_the_loops_for_any_labels(batch, options):
    margin, scale = options
    oracle = partial(oracles.pair_cosface, margin=margin, scale=scale)
    assert_equals_oracle(PairCosFaceLoss(margin, scale), oracle, batch)


@pytest.mark.parametrize("labels", [[0, 0, 0, 1, 1, 1, 2, 2, 2], [0, 0, 0, 0, 0, 1, 1, 2, 3]])
def test_groups_of_equal_and_of_ragged_size_follow_the_formula(labels):
    batch = whole_batch(unit_rows(9, seed=1), labels)
    assert_equals_oracle(CircleLoss(), oracles.circle, batch)
    assert_equals_oracle(PairCosFaceLoss(), oracles.pair_cosface, batch)


def test_a_case_worked_out_by_hand_with_its_gradient():
    # The third row has no positive and adds 0.
    x, labels = WORKED
    value, gradient = value_and_gradient(CircleLoss(margin=0.25, scale=4.0), x, labels)
    pull = -4 * 0.65 * (0.6 - 0.75)
    first, second = pull + 4 * 0.25 * (0.0 - 0.25), pull + 4 * 1.05 * (0.8 - 0.25)
    assert float(value) == pytest.approx((math.log(1 + math.exp(first)) + math.log(1 + math.exp(second))) / 3)
    # The weights are constants: the logits' slopes by the similarities are -4 a_p and 4 a_n.
    slope_first, slope_second = 1 / (1 + math.exp(-first)) / 3, 1 / (1 + math.exp(-second)) / 3
    by_01 = -4 * 0.65 * (slope_first + slope_second)
    by_02, by_12 = 4 * 0.25 * slope_first, 4 * 1.05 * slope_second
    expected = torch.stack([by_01 * x[1] + by_02 * x[2], by_01 * x[0] + by_12 * x[2], by_02 * x[0] + by_12 * x[1]])
    torch.testing.assert_close(gradient, expected, rtol=1e-13, atol=1e-15)


def test_pair_cosface_worked_out_by_hand():
    losses = [math.log(1 + math.exp(4 * (s_n - 0.6 + 0.25))) for s_n in (0.0, 0.8)]
    assert float(PairCosFaceLoss(scale=4.0)(*WORKED)) == pytest.approx(sum(losses) / 3, rel=1e-14)


def test_similarities_beyond_their_optimum_have_no_weight():
    # Positives at 1.5 > 1 + margin, negatives at -0.5 < -margin.
    x = torch.tensor([[1.5, 0.0], [1.0, 0.0], [-0.5, 0.0]], dtype=torch.float64)
    value, gradient = value_and_gradient(CircleLoss(), x, torch.tensor([0, 0, 1]))
    assert float(value) == pytest.approx(2 * math.log(2) / 3, rel=1e-14)
    assert gradient.abs().max() == 0


@pytest.mark.parametrize(("margin", "scale"), [(0.25, 128), (0.4, 8)])
def test_circle_is_the_loss_of_pytorch_metric_learning(margin, scale):
    x, labels = unit_rows(12, seed=1), torch.tensor([0, 1, 2, 0, 1, 0, 2, 0, 1, 2, 1, 0])
    # Beyond 20 theirs takes x for log(1 + e^x).
    assert_equals_peer(CircleLoss(margin, scale), peers.CircleLoss(margin, scale), x, labels, rtol=1e-8)


def test_for_pair_cosface_only_differences_of_similarities_count():
    x, labels = unit_rows(9, seed=2), torch.tensor([0, 0, 0, 0, 0, 1, 1, 2, 3])
    value, gradient = value_and_gradient(PairCosFaceLoss(), x, labels)
    # One coordinate more, the same in all rows, adds 9 to every similarity.
    shifted, shifted_gradient = value_and_gradient(PairCosFaceLoss(), pad(x, (0, 1), value=3.0), labels)
    torch.testing.assert_close(shifted, value, rtol=1e-11, atol=0)
    torch.testing.assert_close(shifted_gradient[:, :-1], gradient, rtol=1e-9, atol=1e-11)
