"""Cross-entropy against targets written out, and against torch where torch has the form."""

from __future__ import annotations

import math

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_checks import assert_same, random_logits, value_and_gradient
from torch.nn import functional as F

from shelfmark.losses import CrossEntropy


@settings(max_examples=30, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 3), min_size=1, max_size=8),
    smoothing=st.sampled_from([0.0, 0.1, 0.9]),
    form=st.sampled_from(["uniform", "others"]),
    weight=st.sampled_from([None, [1.0, 2.0, 0.5, 0.0], [3.0, 1.0, 1.0, 0.25]]),
    seed=st.integers(0, 10**6),
)
def test_value_and_gradient_equal_the_targets_written_out(labels, smoothing, form, weight, seed):
    logits = random_logits(len(labels), 4, seed)
    loss = CrossEntropy(smoothing, form, None if weight is None else torch.tensor(weight))
    if any(label >= 0 and (weight is None or weight[label] > 0) for label in labels):
        expected = oracles.cross_entropy(logits.numpy(), labels, smoothing, form, weight)
        assert_same(value_and_gradient(loss, logits, torch.tensor(labels)), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_the_uniform_form_is_torch_s(smoothing):
    weight = torch.tensor([1.0, 4.0, 0.5, 2.0, 1.0], dtype=torch.float64)
    logits, labels = random_logits(16, 5, seed=1), torch.arange(16) % 5
    expected = F.cross_entropy(logits, labels, weight=weight, label_smoothing=smoothing)
    assert float(CrossEntropy(smoothing, weight=weight)(logits, labels)) == pytest.approx(float(expected), rel=1e-12)


def test_the_two_forms_differ_by_what_the_label_keeps():
    # Two classes at even odds, three to one in favour of the label: ln p is -ln(4/3) and -ln 4.
    logits, labels = torch.tensor([[math.log(3.0), 0.0]], dtype=torch.float64), torch.tensor([0])
    for form, kept in (("uniform", 0.9), ("others", 0.8)):
        expected = kept * math.log(4 / 3) + (1 - kept) * math.log(4)
        assert float(CrossEntropy(0.2, form)(logits, labels)) == pytest.approx(expected, rel=1e-12)


def test_the_mean_divides_by_the_batch_s_sum_of_class_weights():
    logits, labels = random_logits(3, 2, seed=2), torch.tensor([0, 1, 1])
    each = F.cross_entropy(logits, labels, reduction="none")
    expected = (10 * each[0] + 1 * each[1] + 1 * each[2]) / 12
    loss = CrossEntropy(weight=torch.tensor([10.0, 1.0]))
    assert float(loss(logits, labels)) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_computed_in_float32_whatever_autocast_says(dtype):
    logits, labels = random_logits(6, 4, seed=4).to(dtype).requires_grad_(), torch.arange(6) % 4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = CrossEntropy(0.1)(logits, labels)
    value.backward()
    expected, gradient = oracles.cross_entropy(logits.detach().double().numpy(), labels.tolist(), 0.1)
    assert value.dtype == torch.float32
    assert float(value.detach()) == pytest.approx(expected, rel=1e-6)
    assert logits.grad.dtype == dtype
    np.testing.assert_allclose(logits.grad.double(), gradient, atol=2e-3)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"label_smoothing": -0.5}, r"label_smoothing=-0.5 must be at least 0 and below 1"),
        ({"label_smoothing": math.nan}, r"label_smoothing=nan"),
        ({"label_smoothing": -1, "adaptive_factor": 1.0}, r"adaptive_factor=1.0 must be at least 0 and below 1"),
        ({"smoothing_form": "other"}, r"not one of: uniform, others. Did you mean 'others'\?"),
        ({"weight": torch.tensor([1.0, -1.0])}, r"finite and not negative"),
        ({"weight": torch.tensor([1.0, math.inf])}, r"finite and not negative"),
        ({"weight": torch.ones(2, 2)}, r"weight must be \(classes,\)"),
    ],
)
def test_a_value_without_meaning_is_refused_at_construction(options, text):
    with pytest.raises(ValueError, match=text):
        CrossEntropy(**options)


def test_inputs_that_do_not_fit_are_refused():
    logits = torch.zeros(3, 4)
    with pytest.raises(ValueError, match=r"labels lie in 0..4; 4 classes allow -1..3"):
        CrossEntropy()(logits, torch.tensor([0, 1, 4]))
    with pytest.raises(ValueError, match=r"logits must be \(rows, classes\)"):
        CrossEntropy()(logits, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"weight has 5 class weights, the logits have 4 classes"):
        CrossEntropy(weight=torch.ones(5))(logits, torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match=r"with one there is no other class"):
        CrossEntropy(0.1, "others")(torch.zeros(2, 1), torch.tensor([0, 0]))


@pytest.mark.parametrize("form", ["uniform", "others"])
def test_adaptive_smoothing_gives_away_a_part_of_the_label_s_probability(form: str) -> None:
    logits, labels = random_logits(9, 5, seed=4).requires_grad_(), torch.tensor([0, 4, 2, 2, -1, 1, 3, 0, 4])
    value = CrossEntropy(-1, form, adaptive_factor=0.3)(logits, labels)
    value.backward()
    probability = np.exp(logits.detach().numpy())
    probability /= probability.sum(axis=1, keepdims=True)
    expected, gradient = 0.0, np.zeros((9, 5))
    for row, label in enumerate(labels.tolist()):
        if label < 0:
            continue
        given_away = 0.3 * probability[row, label]
        target = np.full(5, given_away / (5 if form == "uniform" else 4))
        target[label] = 1 - given_away + (given_away / 5 if form == "uniform" else 0)
        expected -= (target * np.log(probability[row])).sum() / 8
        # Of a softmax's cross-entropy against a constant target.
        gradient[row] = (probability[row] - target) / 8
    assert float(value.detach()) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(logits.grad, gradient, rtol=1e-10, atol=1e-14)


def test_adaptive_smoothing_takes_mixed_labels_class_by_class() -> None:
    logits = random_logits(3, 4, seed=6)
    loss = CrossEntropy(-1, "others", torch.tensor([1.0, 2.0, 1.0, 0.5], dtype=torch.float64))
    share = torch.tensor([[0.25, 0.75, 0, 0]] * 3, dtype=torch.float64)
    alone = [torch.stack([loss(row[None], torch.tensor([label])) for row in logits]) for label in (0, 1)]
    expected = (0.25 * 1 * alone[0] + 0.75 * 2 * alone[1]).sum() / (3 * (0.25 + 0.75 * 2))
    assert float(loss(logits, share)) == pytest.approx(float(expected), rel=1e-12)
