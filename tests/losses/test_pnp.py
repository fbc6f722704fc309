"""PNP against loops, the form of the paper's code, and closed forms."""

from __future__ import annotations

import math
from itertools import product

import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_checks import SEEDS, assert_same, unit_rows, value_and_gradient

from shelfmark.losses import PNP

VARIANTS = ["O", "I_u", "I_b", "D_s", "D_q"]


@settings(max_examples=30, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 4), min_size=1, max_size=14),
    variant=st.sampled_from(VARIANTS),
    temperature=st.sampled_from([0.001, 0.01, 0.3, 10.0]),
    shape=st.sampled_from([(1.0, 2.0), (4.0, 0.5), (0.5, 8.0)]),
    include_self=st.booleans(),
    seed=SEEDS,
)
def test_value_and_gradient_equal_the_loops_for_any_labels(labels, variant, temperature, shape, include_self, seed):
    x = unit_rows(len(labels), 5, seed)
    found = value_and_gradient(PNP(variant, temperature, *shape, include_self), x, torch.tensor(labels))
    expected = oracles.pnp(x.numpy(), labels, variant, temperature, *shape, include_self)
    assert_same(found, expected, rtol=1e-9, atol=1e-11)


GROUPS = [(0.001, 5, 1), (0.01, 6, 2), (0.1, 5, 4), (1.0, 2, 16), (10.0, 1, 4)]
"""Temperatures, numbers of classes and their rows."""


@pytest.mark.parametrize("variant", VARIANTS)
def test_with_include_self_it_is_the_authors_form_over_equal_groups(variant):
    for temperature, num_classes, group_size in GROUPS:
        x = unit_rows(num_classes * group_size, 8, seed=group_size)
        labels = torch.arange(num_classes).repeat_interleave(group_size)
        expected = value_and_gradient(oracles.grouped_pnp, x, group_size, variant, temperature, alpha=4.0, b=0.5)
        found = value_and_gradient(PNP(variant, temperature, 4.0, 0.5, include_self=True), x, labels)
        assert_same(found, expected, rtol=1e-10)


@pytest.mark.parametrize("variant", VARIANTS)
def test_float32_is_near_float64(variant):
    x = unit_rows(60, 32, seed=3).float()
    labels = torch.arange(15).repeat_interleave(4)
    value, gradient = value_and_gradient(PNP(variant), x, labels)
    exact, exact_gradient = value_and_gradient(PNP(variant), x.double(), labels)
    assert value.dtype == torch.float32
    assert exact.dtype == torch.float64
    assert float(value) == pytest.approx(float(exact), rel=1e-5)
    assert (gradient - exact_gradient).abs().max() < 1e-4 * exact_gradient.abs().max()


@pytest.mark.parametrize("variant", VARIANTS)
def test_collapsed_embeddings_give_the_closed_form(variant):
    x = torch.ones(20, 3, dtype=torch.float64)
    labels = torch.arange(5).repeat_interleave(4)
    value, gradient = value_and_gradient(PNP(variant), x, labels)
    # 16 negatives, each half before each positive.
    assert float(value) == pytest.approx(oracles.pnp_penalty(variant, 8.0)[0], rel=1e-12)
    assert gradient.abs().max() < 1e-12


def test_the_variants_of_a_case_worked_out_by_hand():
    # Query 0 has one positive at similarity 0, two negatives at 0 (a tie: 1/2 each). Its positive likewise.
    x = torch.eye(4, dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 2])
    by_hand = {"O": 1.0, "I_u": 2 * math.log(2), "I_b": (2 - math.log(3)) / 4, "D_s": math.log(2), "D_q": 0.5}
    for variant, expected in by_hand.items():
        assert float(PNP(variant)(x, labels)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_the_bounded_variant_keeps_its_digits_at_small_and_large_counts(dtype, tolerance):
    for b, factor, exponent in product((0.01, 2.0, 30.0), (1.0, 2.4), range(-12, 5)):
        ahead = factor * 10.0**exponent
        count, x = torch.tensor([ahead], dtype=dtype), b * ahead
        if x < 0.3:
            expected = sum((-1) ** (k + 1) * x**k / (k + 1) for k in range(1, 60)) * x / b**2
        else:
            expected = (x - math.log1p(x)) / b**2
        found = float(PNP("I_b", b=b).score.value(count, count, 1))
        assert found == pytest.approx(expected, rel=tolerance, abs=0)


def test_the_bounded_variant_with_b_zero_is_half_the_squared_count():
    x, labels = unit_rows(12, 4, seed=5), torch.arange(4).repeat_interleave(3)
    value, gradient = value_and_gradient(PNP("I_b", 0.1, b=0.0), x, labels)
    near, near_gradient = value_and_gradient(PNP("I_b", 0.1, b=1e-9), x, labels)
    assert float(value) == pytest.approx(float(near), rel=1e-7)
    torch.testing.assert_close(gradient, near_gradient, rtol=1e-6, atol=1e-9)
    ones = torch.full((1,), 3.0)
    assert float(PNP("I_b", b=0.0).score.value(ones, ones, 1)) == 4.5


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_slope_is_the_derivative_of_its_value(variant):
    score = PNP(variant, alpha=3.0, b=2.0).score
    ahead = torch.logspace(-6, 4, 60, dtype=torch.float64).requires_grad_()
    (expected,) = torch.autograd.grad(score.value(ahead, torch.ones_like(ahead), 1).sum(), ahead)
    torch.testing.assert_close(score.slopes(ahead.detach(), torch.ones(60), 1)[0], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("spelling", "variant"),
    [
        ("PNP-O", "O"),
        ("pnp-i_u", "I_u"),
        ("Iu", "I_u"),
        ("Ib", "I_b"),
        ("Ds", "D_s"),
        ("Dq", "D_q"),
        ("PNP-D_q", "D_q"),
        ("d_q", "D_q"),
        ("PNP_D_Q", "D_q"),
    ],
)
def test_each_project_s_spelling_of_a_variant_is_taken(spelling, variant):
    assert PNP(spelling) == PNP(variant)
    assert PNP(spelling).variant == variant


@pytest.mark.parametrize("spelling", ["", "PNP", "D_x", "Smooth-AP", "D q"])
def test_an_unknown_variant_is_refused_at_construction_with_the_choices(spelling):
    with pytest.raises(ValueError, match=r"is not one of: O, I_u, I_b, D_s, D_q"):
        PNP(spelling)
