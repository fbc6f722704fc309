"""Losses that are a softmax over cosines with a margin, against loops and pytorch-metric-learning."""

from __future__ import annotations

import math

import numpy as np
import oracles_proxies as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_checks import SEEDS, Found, assert_same, random_cosines, value_and_gradient
from pytorch_metric_learning import losses as pml
from torch import Tensor

from shelfmark.losses.adaptive_margin import AdaptiveMarginLoss
from shelfmark.losses.arcface import ArcFaceLoss
from shelfmark.losses.circle_softmax import CircleSoftmaxLoss
from shelfmark.losses.cosface import CosFaceLoss
from shelfmark.ops.proxies import proxy_cosines

COUNTS = [900, 3, 40]


def adaptive(cosine: np.ndarray, labels: list[int], at: np.ndarray | None = None) -> float:
    margins = oracles.class_margins(COUNTS, 0.05, 0.5, 0.25)
    of_rows = [margins[label] for label in labels]
    return oracles.cross_entropy(oracles.arcface_logits(cosine, labels, of_rows, 8.0), labels)


# Each loss at a scale at which all rows matter, and its value by loops; `at`: what Circle's factors are taken of.
LOSSES = {
    "arcface": (
        ArcFaceLoss(0.4, 8.0),
        lambda c, y, at: oracles.cross_entropy(oracles.arcface_logits(c, y, [0.4] * len(y), 8.0), y),
    ),
    "cosface": (
        CosFaceLoss(0.2, 8.0),
        lambda c, y, at: oracles.cross_entropy(oracles.cosface_logits(c, y, 0.2, 8.0), y),
    ),
    "circle_softmax": (
        CircleSoftmaxLoss(0.3, 8.0),
        lambda c, y, at: oracles.cross_entropy(oracles.circle_logits(c, y, 0.3, 8.0, at), y),
    ),
    "adaptive_margin": (AdaptiveMarginLoss(torch.tensor(COUNTS), scale=8.0), adaptive),
}


DEFAULTS = [ArcFaceLoss(), CosFaceLoss(), CircleSoftmaxLoss(), AdaptiveMarginLoss(torch.tensor(COUNTS))]


def found_of(loss, cosine: Tensor, labels: list[int]) -> Found:
    return value_and_gradient(loss, cosine, torch.tensor(labels, dtype=torch.int64))


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=12, deadline=None)
@given(labels=st.lists(st.integers(-1, 2), max_size=5), num_proxies=st.sampled_from([0, 1, 3]), seed=SEEDS)
def test_value_and_gradient_equal_the_loops(name, labels, num_proxies, seed):
    loss, expected = LOSSES[name]
    cosine = random_cosines(*(len(labels), 3, num_proxies)[: 3 if num_proxies else 2], seed=seed)
    value, gradient = found_of(loss, cosine, labels)
    at = oracles.nearest(cosine.numpy())
    slopes = oracles.gradient(lambda c: expected(oracles.nearest(c), labels, at), cosine.numpy(), step=1e-6)
    assert float(value) == pytest.approx(expected(at, labels, at), rel=1e-10, abs=1e-14)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_rows_without_label_are_left_out_of_the_mean(name):
    loss, _ = LOSSES[name]
    cosine = random_cosines(5, 3, seed=1)
    value, gradient = found_of(loss, cosine, [0, -1, 2, 1, -1])
    kept = [0, 2, 3]
    assert_same((value, gradient[kept]), found_of(loss, cosine[kept], [0, 2, 1]))
    assert not gradient[[1, 4]].any()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("labels", [[], [-1, -1]])
def test_without_labelled_row_loss_and_gradient_are_zero(name, labels):
    value, gradient = found_of(LOSSES[name][0], random_cosines(len(labels), 3, seed=2), labels)
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("loss", [ArcFaceLoss(), CosFaceLoss(), CircleSoftmaxLoss()])
def test_with_one_class_there_is_nothing_to_learn(loss):
    value, gradient = found_of(loss, random_cosines(3, 1, seed=3), [0, 0, -1])
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("loss", DEFAULTS)
def test_float32_and_half_precision_are_as_exact_as_their_digits_at_the_default_scale(loss):
    cosine, labels = random_cosines(16, 3, seed=4), [row % 3 for row in range(16)]
    value, gradient = found_of(loss, cosine, labels)
    close, close_gradient = found_of(loss, cosine.float(), labels)
    assert float(close) == pytest.approx(float(value), rel=1e-5)
    torch.testing.assert_close(close_gradient.double(), gradient, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = loss(cosine.bfloat16(), torch.tensor(labels))
    assert rough.dtype == torch.float32
    assert float(rough) == pytest.approx(float(found_of(loss, cosine.bfloat16().double(), labels)[0]), rel=1e-5)


@pytest.mark.parametrize("loss", DEFAULTS)
def test_at_the_ends_of_the_cosines_all_is_finite(loss):
    cosine = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    value, gradient = found_of(loss, cosine, [0, 0, 1])
    assert value.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (ArcFaceLoss(0.5, 64.0), pml.ArcFaceLoss(5, 8, margin=math.degrees(0.5), scale=64)),
        (CosFaceLoss(0.35, 64.0), pml.CosFaceLoss(5, 8, margin=0.35, scale=64)),
    ],
)
def test_pytorch_metric_learning_finds_the_same_value_and_gradient(ours, theirs):
    generator = torch.Generator().manual_seed(6)
    vectors = torch.randn(12, 8, generator=generator, dtype=torch.float64).requires_grad_()
    weight = torch.randn(5, 1, 8, generator=generator, dtype=torch.float64)
    labels = torch.arange(12) % 5
    theirs.W.data = weight[:, 0].T.clone()
    found, expected = ours(proxy_cosines(vectors, weight), labels), theirs(vectors, labels)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-9)
    by_ours, by_theirs = (torch.autograd.grad(value, vectors)[0] for value in (found, expected))
    torch.testing.assert_close(by_ours, by_theirs, rtol=1e-7, atol=1e-9)


def test_several_proxies_a_class_make_it_sub_centre_arcface():
    generator = torch.Generator().manual_seed(7)
    vectors = torch.randn(12, 8, generator=generator, dtype=torch.float64)
    weight = torch.randn(5, 3, 8, generator=generator, dtype=torch.float64)
    labels = torch.arange(12) % 5
    theirs = pml.SubCenterArcFaceLoss(
        num_classes=5, embedding_size=8, margin=math.degrees(0.5), scale=64, sub_centers=3
    )
    theirs.W.data = weight.flatten(0, 1).T.clone()
    found = ArcFaceLoss(0.5, 64.0)(proxy_cosines(vectors, weight), labels)
    assert float(found) == pytest.approx(float(theirs(vectors, labels).detach()), rel=1e-9)


def test_a_rarer_class_is_held_to_more():
    loss = AdaptiveMarginLoss(torch.tensor(COUNTS), scale=8.0)
    cosine = torch.full((1, 3), 0.5, dtype=torch.float64)
    costs = [float(loss(cosine, torch.tensor([label]))) for label in range(3)]
    assert costs[1] > costs[2] > costs[0]


def test_cosines_of_other_classes_than_the_counts_are_refused():
    with pytest.raises(ValueError, match=r"cosines are \(2, 4\); counts have 3 classes"):
        AdaptiveMarginLoss(torch.tensor(COUNTS))(torch.zeros(2, 4), torch.tensor([0, 3]))


def test_a_margin_of_nothing_is_allowed_and_is_the_plain_softmax():
    cosine, labels = torch.tensor([[0.2, -0.5], [0.9, 0.1]], dtype=torch.float64), torch.tensor([0, 1])
    expected = torch.nn.functional.cross_entropy(8 * cosine, labels)
    torch.testing.assert_close(ArcFaceLoss(0.0, 8.0)(cosine, labels), expected)
