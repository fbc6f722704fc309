"""Logits with margins against loops over the formulas, and at the ends of the cosine's range."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import oracles_proxies as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shelfmark.ops.margins import arcface, circle, class_margins, cosface, sub_center


def random_cosines(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) - 1


DEFINITIONS = {
    arcface: partial(oracles.arcface_logits, monotone=False),
    partial(arcface, monotone=True): oracles.arcface_logits,
    cosface: oracles.cosface_logits,
    circle: oracles.circle_logits,
}


@settings(max_examples=60, deadline=None)
@given(
    form=st.sampled_from(list(DEFINITIONS)),
    labels=st.lists(st.integers(-1, 3), min_size=1, max_size=7),
    margin=st.sampled_from([-0.5, 0.0, 0.25, 0.5, 1.5]),
    scale=st.sampled_from([1.0, 64.0]),
    seed=st.integers(0, 10**6),
)
def test_every_logit_is_that_of_the_loop_over_the_formula(form, labels, margin, scale, seed):
    # Below 0 only circle's margin has a meaning: it makes factors end at 0.
    margin = margin if form is circle else abs(margin)
    cosine = random_cosines(len(labels), 4, seed=seed)
    margins = margin if form in (cosface, circle) else [margin] * len(labels)
    expected = DEFINITIONS[form](cosine.numpy(), labels, margins, scale)
    logits = form(cosine, torch.tensor(labels), margin, scale)
    np.testing.assert_allclose(logits / scale, np.array(expected) / scale, rtol=0, atol=1e-12)


LABELS = [2, -1, 0, 0, 3, 1, 2, -1]
FORMS = {
    "arcface": (arcface, lambda c, at: oracles.arcface_logits(c, LABELS, [0.5] * 8, 3.0, monotone=False)),
    "monotone arcface": (
        partial(arcface, monotone=True),
        lambda c, at: oracles.arcface_logits(c, LABELS, [0.5] * 8, 3.0),
    ),
    "cosface": (cosface, lambda c, at: oracles.cosface_logits(c, LABELS, 0.5, 3.0)),
    "circle": (circle, lambda c, at: oracles.circle_logits(c, LABELS, 0.5, 3.0, at)),
}


@pytest.mark.parametrize("name", FORMS)
def test_the_gradient_is_that_of_the_formula_and_circles_paces_have_none(name):
    form, expected = FORMS[name]
    cosine = 0.95 * random_cosines(8, 4, seed=5)
    # Angles on both sides of pi - margin.
    cosine[0, 2], cosine[2, 0] = -0.9, 0.9
    upstream = random_cosines(8, 4, seed=6)
    at = cosine.numpy()
    slopes = oracles.gradient(lambda c: float((np.array(expected(c, at)) * upstream.numpy()).sum()), at)
    cosine.requires_grad_()
    (form(cosine, torch.tensor(LABELS), 0.5, 3.0) * upstream).sum().backward()
    np.testing.assert_allclose(cosine.grad, slopes, rtol=1e-8, atol=1e-8)


def test_arcface_by_hand():
    # cos 60 degrees, 30 degrees further: cos 90 degrees.
    logits = arcface(torch.tensor([[0.5, 0.5]], dtype=torch.float64), torch.tensor([1]), math.pi / 6, 64.0)
    assert logits.tolist() == [[32.0, pytest.approx(0.0, abs=1e-12)]]


def test_circle_by_hand():
    # At the label 64 (1.25 - 0.5) (0.5 - 0.75), elsewhere 64 (0.25 + 0.5) (0.5 - 0.25); below -0.25 it is 0.
    logits = circle(torch.tensor([[0.5, 0.5, -0.5]], dtype=torch.float64), torch.tensor([0]), 0.25, 64.0)
    assert logits.tolist() == [[-12.0, 12.0, 0.0]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("form", [arcface, cosface, circle])
def test_at_and_beyond_the_ends_value_and_gradient_are_finite(form, dtype):
    beyond = 1 + 2 * torch.finfo(dtype).eps
    cosine = torch.tensor([[end, 0.0] for end in (1.0, -1.0, beyond, -beyond)], dtype=dtype, requires_grad=True)
    logits = form(cosine, torch.zeros(4, dtype=torch.int64), 0.5, 64.0)
    logits.sum().backward()
    assert logits.isfinite().all()
    assert cosine.grad.isfinite().all()
    assert cosine.grad.abs().max() <= 64 * 2.5 + 1e-4


def test_at_an_angle_of_zero_arcface_is_the_cosine_of_the_margin():
    cosine = torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
    logits = arcface(cosine, torch.tensor([0]), 0.5, 64.0)
    logits.sum().backward()
    assert float(logits.detach()) == pytest.approx(64 * math.cos(0.5), rel=1e-12)
    assert float(cosine.grad) == pytest.approx(64 * math.cos(0.5), rel=1e-12)


@pytest.mark.parametrize("margin", [0.1, 0.5, 1.0, math.pi / 2])
def test_monotone_a_nearer_row_never_has_the_smaller_logit(margin):
    cosine = torch.linspace(-1, 1, 20_001, dtype=torch.float64)[:, None]
    logits = arcface(cosine, torch.zeros(20_001, dtype=torch.int64), margin, 1.0, monotone=True)
    assert (logits.diff(dim=0) >= 0).all()


@pytest.mark.parametrize("form", [arcface, cosface, circle])
def test_margins_may_differ_from_row_to_row(form):
    cosine, labels = random_cosines(5, 3, seed=1), torch.tensor([0, 2, -1, 1, 1])
    margins = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4])
    logits = form(cosine, labels, margins.double(), 30.0)
    for row, margin in enumerate(margins.double().tolist()):
        assert torch.allclose(logits[row], form(cosine[row : row + 1], labels[row : row + 1], margin, 30.0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("form", [arcface, cosface, circle])
def test_logits_are_float32_under_autocast_and_the_cosines_stay_as_they_are(form, dtype):
    cosine, labels = random_cosines(5, 3, seed=2).to(dtype), torch.tensor([0, 2, -1, 1, 1])
    before = cosine.clone()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = form(cosine, labels, 0.5, 64.0)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, form(before.double(), labels, 0.5, 64.0).float(), rtol=1e-5, atol=1e-4)
    assert torch.equal(cosine, before)


def test_the_nearest_of_a_classs_proxies_counts_and_equals_share_the_gradient():
    cosine = torch.tensor([[[0.1, 0.7], [0.3, 0.3]]], requires_grad=True)
    nearest = sub_center(cosine)
    nearest.sum().backward()
    assert nearest.tolist() == [[pytest.approx(0.7), pytest.approx(0.3)]]
    assert cosine.grad.tolist() == [[[0.0, 1.0], [0.5, 0.5]]]
    assert sub_center(nearest) is nearest


def test_rarer_classes_get_larger_margins_between_the_two_ends():
    counts = [1, 16, 81, 10_000]
    margins = class_margins(torch.tensor(counts), 0.05, 0.5, 0.25)
    assert margins.tolist() == pytest.approx(oracles.class_margins(counts, 0.05, 0.5, 0.25), rel=1e-12)
    # By hand: 1, 1/2, 1/3, 1/10; the first is 0.5, the last 0.05, so the slope is exactly one half.
    assert margins.tolist() == pytest.approx([0.5, 0.25, 0.05 + (1 / 3 - 0.1) / 2, 0.05], rel=1e-12)


def test_classes_without_images_get_the_largest_margin_and_do_not_move_the_ends():
    margins = class_margins(torch.tensor([0, 16, 10_000]), 0.05, 0.5, 0.25)
    assert margins.tolist() == pytest.approx([0.5, 0.5, 0.05])


def test_classes_of_one_size_get_the_largest_margin():
    assert class_margins(torch.tensor([7, 7]), 0.05, 0.5, 0.25).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("counts", [torch.tensor([0, 0]), torch.tensor([-1, 3]), torch.ones(2, 2)])
def test_counts_without_meaning_are_refused(counts):
    with pytest.raises(ValueError, match=r"counts must be \(classes,\)"):
        class_margins(counts, 0.05, 0.5, 0.25)


def test_shapes_and_labels_that_do_not_fit_are_refused():
    cosine, labels = torch.zeros(3, 4), torch.tensor([0, 1, 2])
    for message, form, cosines, wanted, margin in (
        (r"labels lie in 0\.\.4; 4 classes allow -1\.\.3", arcface, cosine, torch.tensor([0, 1, 4]), 0.5),
        (r"labels lie in -2\.\.1", cosface, cosine, torch.tensor([0, 1, -2]), 0.5),
        (r"labels must be 3 whole numbers, not torch.int64 \(2,\)", circle, cosine, torch.tensor([0, 1]), 0.5),
        (r"labels must be 3 whole numbers, not torch.float32", circle, cosine, torch.ones(3), 0.5),
        (r"must be \(rows, classes\) of floats, not torch.float32 \(3,\)", arcface, torch.zeros(3), labels, 0.5),
        (r"margin must be a number or 3 of them, one a row, not \(4,\)", cosface, cosine, labels, torch.zeros(4)),
    ):
        with pytest.raises(ValueError, match=message):
            form(cosines, wanted, margin, 64.0)
