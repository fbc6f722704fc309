from __future__ import annotations

import math

import pytest
import torch

from shelfmark.ops.rank_metrics import (
    average_precision,
    average_precision_at_k,
    average_precision_at_r,
    map_at_r,
    mean_reciprocal_rank,
    minp,
    precision_at_k,
    precision_at_r,
    r_precision,
    recall_at_k,
    reciprocal_rank,
)

# Query 0 finds its positives at places 1 and 3 of 3; query 1 at place 2 of 1; query 2 has none.
HITS = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
NUM_POSITIVES = torch.tensor([3, 1, 0])


def test_recall_of_a_case_worked_by_hand() -> None:
    assert recall_at_k(HITS, [1, 2, 5, 100], NUM_POSITIVES) == {1: 0.5, 2: 1.0, 5: 1.0, 100: 1.0}
    assert recall_at_k(HITS, (1, 2)) == {1: pytest.approx(1 / 3), 2: pytest.approx(2 / 3)}


def test_average_precision_divides_by_the_positives_and_not_by_the_hits() -> None:
    values = average_precision(HITS, NUM_POSITIVES)
    assert values[:2].tolist() == pytest.approx([(1 + 2 / 3) / 3, 1 / 2])
    assert math.isnan(values[2])
    assert average_precision(HITS)[0].item() == pytest.approx((1 + 2 / 3) / 2)


def test_scores_at_r_of_a_case_worked_by_hand() -> None:
    assert average_precision_at_r(HITS, NUM_POSITIVES)[:2].tolist() == pytest.approx([(1 + 2 / 3) / 3, 0])
    assert precision_at_r(HITS, NUM_POSITIVES)[:2].tolist() == pytest.approx([2 / 3, 0])
    assert map_at_r(HITS, NUM_POSITIVES) == pytest.approx((1 + 2 / 3) / 6)
    assert r_precision(HITS, NUM_POSITIVES) == pytest.approx(1 / 3)


def test_queries_without_a_positive_leave_no_trace() -> None:
    assert map_at_r(HITS[:2], NUM_POSITIVES[:2]) == map_at_r(HITS, NUM_POSITIVES)
    assert recall_at_k(HITS[2:], [1], NUM_POSITIVES[2:]) == {1: None}
    assert map_at_r(HITS[2:], NUM_POSITIVES[2:]) is None
    assert r_precision(HITS[:0], NUM_POSITIVES[:0]) is None


def test_lists_of_numbers_and_numpy_arrays_are_taken_too() -> None:
    assert average_precision([[0, 1, 1]], [2]).tolist() == pytest.approx([(1 / 2 + 2 / 3) / 2])
    assert map_at_r(HITS.numpy(), NUM_POSITIVES.numpy()) == map_at_r(HITS, NUM_POSITIVES)


def test_misfit_lists_are_refused() -> None:
    for message, score in (
        (r"query 0 has 2 hits but num_positives=1", lambda: average_precision(HITS, torch.tensor([1, 1, 0]))),
        ("9 positives but its list has 5 places", lambda: map_at_r(HITS, torch.tensor([9, 1, 0]))),
        (r"expected \(Q, K\)", lambda: recall_at_k(HITS[0], [1])),
        ("for 3 queries", lambda: average_precision(HITS, torch.tensor([1, 1]))),
        ("k=0", lambda: recall_at_k(HITS, [0])),
        ("query 0 has 3 positives and its list only 2", lambda: minp(HITS, NUM_POSITIVES)),
    ):
        with pytest.raises(ValueError, match=message):
            score()


def test_precision_divides_by_k_however_few_positives_there_are() -> None:
    assert precision_at_k(HITS, [1, 2, 10], NUM_POSITIVES) == {1: 0.5, 2: 0.5, 10: pytest.approx(0.15)}
    assert precision_at_k(HITS, [2]) == {2: pytest.approx(1 / 3)}


def test_average_precision_at_k_divides_by_what_can_stand_there() -> None:
    values = average_precision_at_k(HITS, 2, NUM_POSITIVES)
    # Query 0: 1 of two places, of three positives. Query 1: its only positive at place 2.
    assert values[:2].tolist() == pytest.approx([1 / 2, 1 / 2])
    assert math.isnan(values[2])


def test_reciprocal_rank_of_a_list_that_ends_before_the_first_hit_is_zero() -> None:
    assert mean_reciprocal_rank(HITS, NUM_POSITIVES) == pytest.approx((1 + 1 / 2) / 2)
    assert reciprocal_rank(HITS, torch.tensor([3, 1, 4]))[2] == 0


def test_minp_of_a_case_worked_by_hand() -> None:
    # The last positives stand at places 3 of 2 and 2 of 1.
    assert minp(HITS) == pytest.approx((2 / 3 + 1 / 2) / 2)
