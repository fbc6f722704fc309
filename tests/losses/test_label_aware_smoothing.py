"""Label-aware smoothing against loops and values worked out by hand."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import oracles_longtail as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_checks import COUNTS, ROW_LABELS, SEEDS, WEIGHTS, assert_alike, assert_equals_loops, random_logits

from shelfmark.losses.cross_entropy import CrossEntropy
from shelfmark.losses.label_aware_smoothing import LabelAwareSmoothing

SHAPES = ["concave", "linear", "convex", "exp"]


@settings(max_examples=25, deadline=None)
@given(
    labels=ROW_LABELS,
    head_and_tail=st.sampled_from([(0.3, 0.0), (0.4, 0.1), (0.0, 0.2)]),
    shape=st.sampled_from(SHAPES),
    weight=WEIGHTS,
    seed=SEEDS,
)
def test_value_and_gradient_equal_the_loops(labels, head_and_tail, shape, weight, seed):
    loss = LabelAwareSmoothing(COUNTS, *head_and_tail, shape, exponent=3.0, weight=weight)
    epsilon = oracles.smoothing(COUNTS, *head_and_tail, shape, exponent=3.0)
    row_loss = partial(oracles.label_aware_smoothing, epsilon=epsilon)
    assert_equals_loops(loss, row_loss, labels, random_logits(len(labels), seed=seed))


def test_the_concave_shape_is_the_hand_check_s():
    expected = [0.3, 0.2087, 0.0854, 0.0384, 0.0144, 0]
    np.testing.assert_allclose(LabelAwareSmoothing(COUNTS).smoothing, expected, atol=5e-5)


@pytest.mark.parametrize(
    ("shape", "halfway"), [("concave", math.sqrt(0.5)), ("linear", 0.5), ("convex", 1 - math.sqrt(0.5)), ("exp", 0.25)]
)
def test_every_shape_goes_from_the_tail_to_the_head(shape, halfway):
    smoothing = LabelAwareSmoothing([1, 3, 5], head=0.5, tail=0.1, shape=shape).smoothing
    np.testing.assert_allclose(smoothing, [0.1, 0.1 + 0.4 * halfway, 0.5], rtol=1e-12)


def test_the_label_keeps_the_rest_and_the_others_share_what_it_gives_away():
    # p = 1/2, 1/4, 1/4; the most frequent class gives 0.2 away, 0.1 to each other.
    logits = torch.tensor([[math.log(2.0), 0.0, 0.0]], dtype=torch.float64)
    value = LabelAwareSmoothing([9, 1, 1], head=0.2)(logits, torch.tensor([0]))
    assert float(value) == pytest.approx(0.8 * math.log(2) + 0.2 * math.log(4), rel=1e-12)


def test_the_uniform_form_gives_to_every_class_the_label_too():
    # p = 1/2, 1/4, 1/4; of the 0.3 that the most frequent class gives away, 0.1 comes back to it.
    logits = torch.tensor([[math.log(2.0), 0.0, 0.0]], dtype=torch.float64)
    value = LabelAwareSmoothing([9, 1, 1], head=0.3, smoothing_form="uniform")(logits, torch.tensor([0]))
    assert float(value) == pytest.approx(0.8 * math.log(2) + 0.2 * math.log(4), rel=1e-12)


@settings(max_examples=15, deadline=None)
@given(labels=ROW_LABELS, seed=SEEDS)
def test_the_uniform_form_is_the_paper_s_with_less_given_away(labels, seed):
    # eps / C to all and 1 - eps besides to the label: each other class gets what eps (C - 1) / C gives it.
    logits = random_logits(len(labels), seed=seed)
    found = LabelAwareSmoothing(COUNTS, 0.36, 0.12, smoothing_form="uniform")
    same = LabelAwareSmoothing(COUNTS, 0.30, 0.10)
    assert_alike(found, same, logits, torch.tensor(labels))


@pytest.mark.parametrize("shape", SHAPES)
def test_equal_counts_smooth_every_class_as_the_head(shape):
    logits, labels = random_logits(8, seed=2), torch.arange(8) % 6
    for form in ("others", "uniform"):
        loss = LabelAwareSmoothing([7] * 6, 0.2, 0.1, shape, smoothing_form=form)
        assert_alike(loss, CrossEntropy(0.2, form), logits, labels)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_class_without_images_is_smoothed_as_the_rarest_that_has_some(shape):
    smoothing = LabelAwareSmoothing([9, 0, 2, 5], 0.3, 0.05, shape).smoothing
    without = LabelAwareSmoothing([9, 2, 5], 0.3, 0.05, shape).smoothing
    assert torch.equal(smoothing[[0, 2, 3]], without)
    assert float(smoothing[1]) == 0.05
