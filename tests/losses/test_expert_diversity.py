"""The diversity of experts against loops and values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import oracles_experts as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_checks import assert_same, value_and_gradient

from shelfmark.losses.expert_diversity import ExpertDiversity

COUNTS = [100, 20, 5, 0]


def expert_logits(num_rows: int, num_experts: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(num_rows, num_experts, 4, generator=generator, dtype=torch.float64)).to(dtype)


@settings(max_examples=15, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 3), min_size=1, max_size=4),
    num_experts=st.integers(2, 4),
    temperature=st.sampled_from([0.5, 1.0, 3.0]),
    count_share=st.sampled_from([0.0, 0.05, 0.6]),
    seed=st.integers(0, 10**6),
)
def test_value_and_gradient_equal_the_loops(labels, num_experts, temperature, count_share, seed):
    logits = expert_logits(len(labels), num_experts, seed)
    loss = ExpertDiversity(COUNTS, temperature, count_share)
    expected = oracles.expert_diversity(logits.numpy(), labels, COUNTS, temperature, count_share)
    assert_same(value_and_gradient(loss, logits, torch.tensor(labels)), expected, rtol=1e-7, atol=1e-10)
    single = value_and_gradient(loss, logits.float(), torch.tensor(labels))
    assert single[0].dtype == torch.float32
    assert_same(single, expected, rtol=1e-3, atol=1e-5)


def test_two_experts_of_two_classes_cost_what_was_worked_out_by_hand():
    # Probabilities 3/4, 1/4 and 1/4, 3/4, their mean 1/2, 1/2: KL is 3/4 ln 3/2 + 1/4 ln 1/2 for both.
    logits = torch.tensor([[[math.log(3), 0.0], [0.0, math.log(3)]]], dtype=torch.float64)
    value = ExpertDiversity([1, 1])(logits, torch.tensor([0]))
    assert float(value) == pytest.approx(-(0.75 * math.log(1.5) - 0.25 * math.log(2)), rel=1e-12)


def test_the_most_frequent_class_has_the_temperature_and_an_empty_one_the_least():
    # Means of 4, shares of one half: balances of 3/2, 1 and 1/2.
    np.testing.assert_allclose(ExpertDiversity([8, 4, 0], 3.0, 0.5).temperatures, [3.0, 2.0, 1.0])
    np.testing.assert_allclose(ExpertDiversity([8, 4, 0], 3.0, 0.0).temperatures, [3.0, 3.0, 3.0])


def test_temperatures_stay_positive_in_a_tail_however_long():
    assert float(ExpertDiversity([10**7, *[1] * 9999]).temperatures.min()) > 0


def test_experts_that_agree_cost_nothing_and_any_difference_is_rewarded():
    same = expert_logits(5, 1, seed=1).expand(5, 3, 4)
    labels = torch.arange(5) % 4
    value, gradient = value_and_gradient(ExpertDiversity(COUNTS), same, labels)
    assert float(value) == pytest.approx(0, abs=1e-14)
    np.testing.assert_allclose(gradient, 0, atol=1e-14)
    assert float(ExpertDiversity(COUNTS)(expert_logits(5, 3, seed=2), labels)) < -0.1


def test_the_order_of_rows_and_experts_and_what_is_added_to_an_experts_logits_change_nothing():
    logits, labels = expert_logits(5, 3, seed=3), torch.tensor([0, 1, -1, 3, 2])
    loss = ExpertDiversity(COUNTS)
    expected = float(loss(logits, labels))
    rows, experts = torch.tensor([3, 0, 4, 2, 1]), torch.tensor([2, 0, 1])
    assert float(loss(logits[rows], labels[rows])) == pytest.approx(expected, rel=1e-12)
    assert float(loss(logits[:, experts], labels)) == pytest.approx(expected, rel=1e-12)
    equal_temperatures = ExpertDiversity(COUNTS, count_share=0.0)
    moved = logits + torch.tensor([5.0, -2.0, 0.0])[:, None]
    assert float(equal_temperatures(moved, labels)) == pytest.approx(float(equal_temperatures(logits, labels)))


def test_rows_count_by_their_label_alone_also_as_probabilities():
    logits, labels = expert_logits(4, 3, seed=4), torch.tensor([2, -1, 0, 1])
    soft = torch.zeros(4, 4)
    soft[0, 2], soft[2, :2], soft[3, 1] = 1, 0.5, 1
    loss = ExpertDiversity(COUNTS)
    assert float(loss(logits, soft)) == float(loss(logits, labels))
    assert float(loss(logits, labels)) == pytest.approx(float(loss(logits[[0, 2, 3]], labels[[0, 2, 3]])), rel=1e-12)
    value, gradient = value_and_gradient(loss, logits, torch.full((4,), -1))
    assert float(value) == 0
    assert not gradient.any()


def test_the_reward_ends_at_the_logarithm_of_the_number_of_experts_and_half_precision_is_computed_in_float32():
    certain = torch.tensor([[[200.0, 0, 0, 0], [0, 200.0, 0, 0]]], requires_grad=True)
    value = ExpertDiversity(COUNTS, count_share=0.0)(certain, torch.tensor([0]))
    value.backward()
    assert float(value.detach()) == pytest.approx(-math.log(2), rel=1e-6)
    assert bool(certain.grad.isfinite().all())
    half = expert_logits(3, 2, seed=5, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = ExpertDiversity(COUNTS)(half, torch.tensor([0, 1, 2]))
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(float(ExpertDiversity(COUNTS)(half.double(), torch.arange(3))), rel=1e-5)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"2 or more experts, not \(3, 1, 4\)"):
        ExpertDiversity(COUNTS)(torch.zeros(3, 1, 4), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"do not fit logits"):
        ExpertDiversity(COUNTS)(torch.zeros(3, 2, 4), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"counts has 4 class counts, the logits have 5"):
        ExpertDiversity(COUNTS)(torch.zeros(3, 2, 5), torch.zeros(3, dtype=torch.int64))
