"""Logit adjustment in training, against loops, balanced softmax and cross-entropy."""

from __future__ import annotations

import math
from functools import partial

import oracles_longtail as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_checks import COUNTS, ROW_LABELS, SEEDS, WEIGHTS, assert_alike, assert_equals_loops, random_logits

from shelfmark.losses.balanced_softmax import BalancedSoftmax
from shelfmark.losses.cross_entropy import CrossEntropy
from shelfmark.losses.logit_adjusted import LogitAdjusted


@settings(max_examples=25, deadline=None)
@given(labels=ROW_LABELS, tau=st.sampled_from([0.0, 0.5, 1.0, 2.5]), weight=WEIGHTS, seed=SEEDS)
def test_value_and_gradient_equal_the_loops(labels, tau, weight, seed):
    logits = random_logits(len(labels), seed=seed)
    assert_equals_loops(
        LogitAdjusted(COUNTS, tau, weight), partial(oracles.logit_adjusted, counts=COUNTS, tau=tau), labels, logits
    )


def test_three_to_one_is_evened_out_by_a_prior_of_one_to_three():
    # Shares 1/4 and 3/4: to the power 2 they are 1 to 9, against odds of 3 to 1.
    logits = torch.tensor([[math.log(3.0), 0.0]], dtype=torch.float64)
    assert float(LogitAdjusted([1, 3])(logits, torch.tensor([0]))) == pytest.approx(math.log(2), rel=1e-12)
    assert float(LogitAdjusted([1, 3], 2.0)(logits, torch.tensor([0]))) == pytest.approx(math.log(4), rel=1e-12)


@pytest.mark.parametrize("counts", [COUNTS, [100, 50, 0, 10, 5, 2]])
def test_tau_one_is_balanced_softmax(counts):
    logits, labels = random_logits(8, seed=1), torch.arange(8) % 6
    assert_alike(LogitAdjusted(counts), BalancedSoftmax(counts), logits, labels)


@pytest.mark.parametrize(("counts", "tau"), [(COUNTS, 0.0), ([7] * 6, 1.5)])
def test_tau_zero_and_equal_counts_are_cross_entropy(counts, tau):
    logits, labels = random_logits(8, seed=2), torch.arange(8) % 6
    assert_alike(LogitAdjusted(counts, tau), CrossEntropy(), logits, labels)


def test_counts_of_two_dimensions_are_refused():
    with pytest.raises(ValueError, match=r"counts must have one dimension"):
        LogitAdjusted([COUNTS])
