from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.ops.confusions import confused_pairs


def test_the_pair_with_the_most_images_comes_first() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    predicted = torch.tensor([1, 1, 0, 2, 1, 2, 2])
    assert confused_pairs(labels, predicted) == [(0, 1, 2, 3), (1, 2, 1, 2)]


def test_of_equal_pairs_the_greater_share_of_its_class_leads_then_the_lower_class() -> None:
    labels = torch.tensor([0, 0, 0, 2, 1, 1, 3, 3])
    predicted = torch.tensor([0, 0, 1, 0, 3, 0, 3, 0])
    pairs = confused_pairs(labels, predicted)
    assert [pair[:2] for pair in pairs] == [(2, 0), (1, 0), (1, 3), (3, 0), (0, 1)]
    assert confused_pairs(labels, predicted, most=2) == pairs[:2]


def test_a_pair_and_its_reverse_count_apart() -> None:
    assert confused_pairs(torch.tensor([0, 0, 1]), torch.tensor([1, 1, 0])) == [(0, 1, 2, 2), (1, 0, 1, 1)]


def test_images_without_a_label_and_right_ones_are_in_no_pair() -> None:
    assert confused_pairs(torch.tensor([-1, 2, -1]), torch.tensor([0, 2, 1])) == []
    assert confused_pairs(torch.zeros(0).long(), torch.zeros(0).long()) == []


@given(st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 4)), max_size=40), st.integers(1, 6))
@settings(deadline=None, max_examples=30)
def test_the_counts_are_those_of_a_plain_count(images: list[tuple[int, int]], most: int) -> None:
    wrong = Counter((label, predicted) for label, predicted in images if label >= 0 and label != predicted)
    labels, predicted = (torch.tensor([image[side] for image in images], dtype=torch.int64) for side in (0, 1))
    found = confused_pairs(labels, predicted, most)
    assert {pair[:2]: pair.num_images for pair in found}.items() <= wrong.items()
    assert [pair.num_images for pair in found] == sorted(wrong.values(), reverse=True)[:most]
    assert all(pair.num_of_class == sum(label == pair.label for label, _ in images) for pair in found)


def test_bad_input_is_refused_with_its_reason() -> None:
    with pytest.raises(ValueError, match="must both be"):
        confused_pairs(torch.zeros(3).long(), torch.zeros(4).long())
    with pytest.raises(ValueError, match="most=0"):
        confused_pairs(torch.zeros(3).long(), torch.zeros(3).long(), most=0)
