"""CDT against loops and values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import oracles_longtail as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.losses.cdt import CDT
from shelfmark.losses.cross_entropy import CrossEntropy

COUNTS = [100, 50, 20, 10, 5, 2]


def value_and_gradient(loss, logits, labels):
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, labels)
    value.backward()
    return float(value.detach()), logits.grad


def random_logits(num_rows: int, seed: int) -> torch.Tensor:
    return 3 * torch.randn(num_rows, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=25, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 5), min_size=1, max_size=6),
    gamma=st.sampled_from([0.0, 0.2, 1.0]),
    weight=st.sampled_from([None, [1.0, 2.0, 0.5, 3.0, 0.25, 4.0]]),
    seed=st.integers(0, 10**6),
)
def test_value_and_gradient_equal_the_loops(labels, gamma, weight, seed):
    logits = random_logits(len(labels), seed)
    loss = CDT(COUNTS, gamma, None if weight is None else torch.tensor(weight))
    value, gradient = value_and_gradient(loss, logits, torch.tensor(labels))
    expected, expected_gradient = oracles.mean_over_rows(
        lambda z, label: oracles.cdt(z, label, COUNTS, gamma), logits.numpy(), labels, weight
    )
    assert value == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-8, atol=1e-12)


def test_a_class_of_a_quarter_of_the_images_has_half_of_its_logit_at_gamma_one_half():
    logits = torch.tensor([[0.0, 2 * math.log(3.0)]], dtype=torch.float64)
    assert float(CDT([4, 1], 0.5)(logits, torch.tensor([1]))) == pytest.approx(math.log(4 / 3), rel=1e-12)


@pytest.mark.parametrize(("counts", "gamma"), [(COUNTS, 0.0), ([7] * 6, 0.7)])
def test_gamma_zero_and_equal_counts_are_cross_entropy(counts, gamma):
    logits, labels = random_logits(8, seed=2), torch.arange(8) % 6
    value, gradient = value_and_gradient(CDT(counts, gamma), logits, labels)
    expected, expected_gradient = value_and_gradient(CrossEntropy(), logits, labels)
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-10, atol=1e-15)


def test_a_class_without_images_counts_as_one_with_a_single_image():
    np.testing.assert_allclose(CDT([4, 0, 16], 0.5).factors, [0.5, 0.25, 1.0])


def test_an_option_without_meaning_is_refused():
    with pytest.raises(ValueError, match=r"gamma=inf must be a finite number, 0 or above"):
        CDT(COUNTS, math.inf)
