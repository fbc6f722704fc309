"""Inverse softmax against loops and values worked out by hand."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import oracles_experts as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_checks import ROW_LABELS, SEEDS, WEIGHTS, assert_alike, assert_equals_loops, random_logits, value_and_gradient

from shelfmark.losses.balanced_softmax import BalancedSoftmax
from shelfmark.losses.inverse_softmax import InverseSoftmax

COUNTS = [100, 2, 20, 10, 50, 5]


@settings(max_examples=25, deadline=None)
@given(labels=ROW_LABELS, strength=st.sampled_from([0.0, 1.0, 2.0]), weight=WEIGHTS, seed=SEEDS)
def test_value_and_gradient_equal_the_loops(labels, strength, weight, seed):
    logits = random_logits(len(labels), seed=seed)
    assert_equals_loops(
        InverseSoftmax(COUNTS, strength, weight),
        partial(oracles.inverse_softmax, counts=COUNTS, strength=strength),
        labels,
        logits,
    )


def test_logits_without_an_opinion_cost_what_was_worked_out_by_hand():
    # Shares 3/4 and 1/4, reversed 1/4 and 3/4: factors of 3/4 / (1/4)^2 = 12 and 1/4 / (3/4)^2 = 4/9.
    zeros = torch.zeros(1, 2, dtype=torch.float64)
    value = InverseSoftmax([3, 1], strength=2.0)(zeros, torch.tensor([1]))
    assert float(value) == pytest.approx(math.log(1 + 12 / (4 / 9)), rel=1e-12)


def test_strength_0_is_balanced_softmax_and_equal_counts_are_cross_entropy():
    logits, labels = random_logits(8, seed=1), torch.arange(8) % 6
    expected = float(BalancedSoftmax(COUNTS)(logits, labels))
    assert float(InverseSoftmax(COUNTS, strength=0.0)(logits, labels)) == pytest.approx(expected, rel=1e-12)
    expected = float(torch.nn.functional.cross_entropy(logits, labels))
    assert float(InverseSoftmax([7] * 6)(logits, labels)) == pytest.approx(expected, rel=1e-12)


def test_the_best_logits_are_those_of_the_reversed_shares_to_the_power():
    # Where the rows are the training set, the mean loss has its minimum where the softmax with the adjustment is pi.
    loss, counts = InverseSoftmax([6, 3, 1], strength=1.0), [6, 3, 1]
    labels = torch.tensor([0] * 6 + [1] * 3 + [2])
    best = torch.tensor([1.0, 3.0, 6.0], dtype=torch.float64).log().expand(10, 3)
    _, gradient = value_and_gradient(loss, best, labels)
    np.testing.assert_allclose(gradient.sum(0), 0, atol=1e-14)
    assert sum(counts) == len(labels)


def test_classes_with_equally_many_images_are_treated_alike_wherever_they_stand():
    adjustment = InverseSoftmax([8, 1, 8, 2, 1]).adjustment
    assert adjustment[0] == adjustment[2]
    assert adjustment[1] == adjustment[4]
    order = torch.tensor([4, 2, 0, 1, 3])
    moved = InverseSoftmax(torch.tensor([8, 1, 8, 2, 1])[order]).adjustment
    torch.testing.assert_close(moved, adjustment[order], rtol=1e-12, atol=1e-12)


def test_a_class_without_images_counts_as_one_with_a_single_image():
    logits, labels = random_logits(6, seed=3), torch.arange(6)
    empty, single = InverseSoftmax([100, 50, 20, 0, 5, 2]), InverseSoftmax([100, 50, 20, 1, 5, 2])
    assert_alike(empty, single, logits, labels)
    assert empty(logits, labels).isfinite()
