"""Balanced softmax against loops and values worked out by hand."""

from __future__ import annotations

import math
from functools import partial

import oracles_longtail as oracles
import pytest
import torch
from hypothesis import given, settings
from loss_checks import (
    COUNTS,
    ROW_LABELS,
    SEEDS,
    WEIGHTS,
    assert_alike,
    assert_equals_loops,
    random_logits,
)

from shelfmark.losses.balanced_softmax import BalancedSoftmax
from shelfmark.losses.cross_entropy import CrossEntropy


@settings(max_examples=25, deadline=None)
@given(labels=ROW_LABELS, weight=WEIGHTS, seed=SEEDS)
def test_value_and_gradient_equal_the_loops(labels, weight, seed):
    logits = random_logits(len(labels), seed=seed)
    assert_equals_loops(
        BalancedSoftmax(COUNTS, weight), partial(oracles.balanced_softmax, counts=COUNTS), labels, logits
    )


def test_logits_without_an_opinion_cost_the_surprise_of_the_class_s_share():
    for label, count in enumerate(COUNTS):
        value = BalancedSoftmax(COUNTS)(torch.zeros(1, 6, dtype=torch.float64), torch.tensor([label]))
        assert float(value) == pytest.approx(-math.log(count / 187), rel=1e-12)


def test_scaling_all_counts_changes_nothing():
    logits, labels = random_logits(8, seed=1), torch.arange(8) % 6
    assert_alike(BalancedSoftmax([1000 * n for n in COUNTS]), BalancedSoftmax(COUNTS), logits, labels)


def test_equal_counts_are_cross_entropy():
    logits, labels = random_logits(8, seed=2), torch.arange(8) % 6
    assert_alike(BalancedSoftmax([7] * 6), CrossEntropy(), logits, labels)


def test_a_class_without_images_counts_as_one_with_a_single_image():
    logits, labels = random_logits(6, seed=3), torch.arange(6)
    empty, single = BalancedSoftmax([100, 50, 20, 0, 5, 2]), BalancedSoftmax([100, 50, 20, 1, 5, 2])
    assert_alike(empty, single, logits, labels)
    assert empty(logits, labels).isfinite()


def test_inputs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"counts has 6 class counts, the logits have 5 classes"):
        BalancedSoftmax(COUNTS)(torch.zeros(2, 5), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"counts must be finite and not negative"):
        BalancedSoftmax([1, -1])
