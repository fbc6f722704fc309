"""LDAM against loops and values worked out by hand."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import oracles_longtail as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_checks import COUNTS, ROW_LABELS, SEEDS, WEIGHTS, assert_equals_loops, random_cosines

from shelfmark.losses.cross_entropy import CrossEntropy
from shelfmark.losses.ldam import LDAM


@settings(max_examples=25, deadline=None)
@given(
    labels=ROW_LABELS,
    max_margin=st.sampled_from([0.0, 0.3, 0.5]),
    scale=st.sampled_from([1.0, 30.0]),
    weight=WEIGHTS,
    seed=SEEDS,
)
def test_value_and_gradient_equal_the_loops(labels, max_margin, scale, weight, seed):
    cosines = random_cosines(len(labels), 6, seed=seed)
    assert_equals_loops(
        LDAM(COUNTS, max_margin, scale, weight),
        partial(oracles.ldam, counts=COUNTS, max_margin=max_margin, scale=scale),
        labels,
        cosines,
    )


def test_the_margins_of_the_classes_are_the_hand_check_s():
    np.testing.assert_allclose(LDAM(COUNTS).margins, [0.1880, 0.2236, 0.2812, 0.3344, 0.3976, 0.5], atol=5e-5)


def test_the_margin_is_taken_from_the_cosine_at_the_label_before_the_scale():
    # Counts of 16 and 1: margins of 1/4 and 1/2.
    cosines = torch.tensor([[0.5, 0.0]], dtype=torch.float64)
    loss = LDAM([16, 1], max_margin=0.5, scale=4.0)
    assert float(loss(cosines, torch.tensor([0]))) == pytest.approx(math.log1p(math.exp(-4 * 0.25)), rel=1e-12)
    assert float(loss(cosines, torch.tensor([1]))) == pytest.approx(math.log1p(math.exp(4 * 1.0)), rel=1e-12)


def test_without_a_margin_it_is_cross_entropy_of_the_scaled_cosines():
    cosines = 2 * torch.rand(5, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64) - 1
    labels, weight = torch.arange(5), torch.arange(1.0, 7.0)
    expected = CrossEntropy(weight=weight)(12 * cosines, labels)
    assert float(LDAM(COUNTS, 0.0, 12.0, weight)(cosines, labels)) == pytest.approx(float(expected), rel=1e-12)


def test_a_class_without_images_leaves_the_margins_of_the_others_and_has_the_largest():
    np.testing.assert_allclose(LDAM([16, 0, 1]).margins, [0.25, 0.5, 0.5])


def test_the_certain_row_of_a_large_margin_keeps_its_digits_in_float32():
    cosines = torch.tensor([[1.0, -1.0]], requires_grad=True)
    value = LDAM([1, 1], max_margin=0.5, scale=30.0)(cosines, torch.tensor([0]))
    value.backward()
    expected = math.log1p(math.exp(-45))
    # Below float32's resolution next to 1 the logarithm of the softmax is 0.
    assert float(value.detach()) == pytest.approx(expected, abs=1e-7)
    assert bool(cosines.grad.isfinite().all())


def test_counts_and_labels_without_meaning_are_refused():
    with pytest.raises(ValueError, match=r"every class is empty"):
        LDAM([0, 0])
    with pytest.raises(ValueError, match=r"LDAM takes labels \(rows,\) of whole numbers"):
        LDAM([1, 1])(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]]))
    with pytest.raises(ValueError, match=r"counts has 6 class counts, the logits have 2 classes"):
        LDAM(COUNTS)(torch.zeros(1, 2), torch.tensor([0]))
