"""Smooth-AP against loops, the form of the paper's code, and values worked out by hand."""

from __future__ import annotations

import math

import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_checks import SEEDS, assert_same, unit_rows, value_and_gradient

from shelfmark.losses import SmoothAP


@settings(max_examples=30, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 4), min_size=1, max_size=14),
    temperature=st.sampled_from([0.001, 0.01, 0.3, 10.0]),
    include_self=st.booleans(),
    seed=SEEDS,
)
def test_value_and_gradient_equal_the_loops_for_any_labels(labels, temperature, include_self, seed):
    x = unit_rows(len(labels), 5, seed)
    found = value_and_gradient(SmoothAP(temperature, include_self), x, torch.tensor(labels))
    assert_same(found, oracles.smooth_ap(x.numpy(), labels, temperature, include_self), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("temperature", "num_classes", "group_size"),
    [(0.001, 5, 1), (0.01, 6, 2), (0.1, 5, 4), (1.0, 2, 7), (10.0, 2, 16), (0.01, 1, 4)],
)
def test_with_include_self_it_is_the_authors_form_over_equal_groups(num_classes, group_size, temperature):
    x = unit_rows(num_classes * group_size, 8, seed=group_size)
    labels = torch.arange(num_classes).repeat_interleave(group_size)
    expected = value_and_gradient(oracles.grouped_smooth_ap, x, group_size, temperature)
    assert_same(value_and_gradient(SmoothAP(temperature, include_self=True), x, labels), expected)


def test_a_case_worked_out_by_hand():
    # Query 0 at (1, 0): similarities to rows 1, 2, 3 are 0.8, 0.6, 0.9; row 3 is the only negative.
    x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, -0.8], [0.9, math.sqrt(0.19)]], dtype=torch.float64)
    labels = torch.tensor([7, 7, 7, 9])
    sg = oracles.step
    s = (x @ x.T).tolist()

    def part(q: int, i: int, other: int) -> float:
        ahead, rank = sg((s[q][3] - s[q][i]) / 0.1), 1 + sg((s[q][other] - s[q][i]) / 0.1)
        return ahead / (rank + ahead)

    expected = (part(0, 1, 2) + part(0, 2, 1) + part(1, 0, 2) + part(1, 2, 0) + part(2, 0, 1) + part(2, 1, 0)) / 6
    assert float(SmoothAP(0.1)(x, labels)) == pytest.approx(expected, rel=1e-12)
    assert part(0, 1, 2) == pytest.approx(sg(1) / (1 + sg(-2) + sg(1)))


@pytest.mark.parametrize("include_self", [False, True])
def test_collapsed_embeddings_give_the_closed_form(include_self):
    num_classes, group_size = 5, 4
    x = torch.ones(20, 3, dtype=torch.float64)
    labels = torch.arange(num_classes).repeat_interleave(group_size)
    ahead = (20 - group_size) / 2
    num_positives = group_size if include_self else group_size - 1
    rank = 1 + (num_positives - 1) / 2
    value, gradient = value_and_gradient(SmoothAP(include_self=include_self), x, labels)
    assert float(value) == pytest.approx(ahead / (rank + ahead), rel=1e-12)
    if include_self:
        assert float(value) == pytest.approx(1 - (group_size + 1) / (20 + 1), rel=1e-12)
    assert gradient.abs().max() < 1e-12


def test_a_perfect_ranking_costs_nothing_even_with_ties_among_positives():
    labels = torch.arange(4).repeat_interleave(3)
    x = torch.eye(4, dtype=torch.float64)[labels]
    value, gradient = value_and_gradient(SmoothAP(), x, labels)
    assert 0 <= float(value) < 1e-20
    assert gradient.abs().max() == 0


def test_a_reversed_ranking_costs_nearly_all_of_average_precision():
    # Each row's only positive is its opposite, so the 8 negatives stand before it.
    directions = unit_rows(5, 6, seed=1)
    x, labels = torch.cat([directions, -directions]), torch.arange(5).repeat(2)
    assert float(SmoothAP(0.001)(x, labels)) == pytest.approx(1 - 1 / 9, abs=1e-6)
