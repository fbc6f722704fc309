"""CDT against loops and values worked out by hand."""

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

from shelfmark.losses.cdt import CDT
from shelfmark.losses.cross_entropy import CrossEntropy


@settings(max_examples=25, deadline=None)
@given(labels=ROW_LABELS, gamma=st.sampled_from([0.0, 0.2, 1.0]), weight=WEIGHTS, seed=SEEDS)
def test_value_and_gradient_equal_the_loops(labels, gamma, weight, seed):
    logits = random_logits(len(labels), seed=seed)
    assert_equals_loops(CDT(COUNTS, gamma, weight), partial(oracles.cdt, counts=COUNTS, gamma=gamma), labels, logits)


def test_a_class_of_a_quarter_of_the_images_has_half_of_its_logit_at_gamma_one_half():
    logits = torch.tensor([[0.0, 2 * math.log(3.0)]], dtype=torch.float64)
    assert float(CDT([4, 1], 0.5)(logits, torch.tensor([1]))) == pytest.approx(math.log(4 / 3), rel=1e-12)


@pytest.mark.parametrize(("counts", "gamma"), [(COUNTS, 0.0), ([7] * 6, 0.7)])
def test_gamma_zero_and_equal_counts_are_cross_entropy(counts, gamma):
    logits, labels = random_logits(8, seed=2), torch.arange(8) % 6
    assert_alike(CDT(counts, gamma), CrossEntropy(), logits, labels)


def test_a_class_without_images_counts_as_one_with_a_single_image():
    np.testing.assert_allclose(CDT([4, 0, 16], 0.5).factors, [0.5, 0.25, 1.0])
