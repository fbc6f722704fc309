from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from shelfmark.ops.rank_metrics import (
    average_precision,
    average_precision_at_r,
    map_at_r,
    positive_ranks,
    precision_at_r,
    r_precision,
    recall_at_k,
    scores_of_ranks,
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
    with pytest.raises(ValueError, match=r"query 0 has 2 hits but num_positives=1"):
        average_precision(HITS, torch.tensor([1, 1, 0]))
    with pytest.raises(ValueError, match="9 positives but its list has 5 places"):
        map_at_r(HITS, torch.tensor([9, 1, 0]))
    with pytest.raises(ValueError, match=r"expected \(Q, K\)"):
        recall_at_k(HITS[0], [1])
    with pytest.raises(ValueError, match="for 3 queries"):
        average_precision(HITS, torch.tensor([1, 1]))
    with pytest.raises(ValueError, match="k=0"):
        recall_at_k(HITS, [0])


def _slow_ranks(scores: np.ndarray, positives: np.ndarray) -> list[list[float]]:
    ranks = []
    for row, wanted in zip(scores, positives):
        order = sorted(range(len(row)), key=lambda item: (-row[item], item))
        found = sorted(order.index(item) + 1 for item in wanted if item >= 0)
        ranks.append([*found, *[math.inf] * (len(wanted) - len(found))])
    return ranks


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    num_items=st.integers(1, 30),
    levels=st.sampled_from([1, 2, 5, 10**6]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_positive_ranks_equal_places_in_a_sorted_list(
    seed: int, num_items: int, levels: int, dtype: torch.dtype
) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(levels, size=(6, num_items)).astype(float) - 0.0
    scores[scores == 1] = -np.inf
    positives = np.stack([generator.permutation(num_items)[: max(1, num_items // 2)] for _ in range(6)])
    positives[generator.random(positives.shape) < 0.3] = -1
    ranks = positive_ranks(torch.from_numpy(scores).to(dtype), torch.from_numpy(positives))
    assert ranks.tolist() == _slow_ranks(scores, positives)


def test_ties_are_resolved_in_any_number_of_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, positives = torch.zeros(4, 9), torch.tensor([[8, 0], [3, -1], [5, 4], [7, 2]])
    whole = positive_ranks(scores, positives)
    monkeypatch.setattr("shelfmark.ops.rank_metrics._TIED_AT_A_TIME", 3)
    assert torch.equal(positive_ranks(scores, positives), whole)
    assert whole.tolist() == [[1, 9], [4, math.inf], [5, 6], [3, 8]]


def test_minus_zero_equals_zero() -> None:
    assert positive_ranks(torch.tensor([[0.0, -0.0]]), torch.tensor([[1]])).tolist() == [[2]]
    assert positive_ranks(torch.tensor([[-0.0, 0.0]]), torch.tensor([[1]])).tolist() == [[2]]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), num_items=st.integers(1, 25), share=st.floats(0, 1))
def test_scores_from_ranks_from_hits_and_from_scikit_learn_agree(seed: int, num_items: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    hits = torch.rand(5, num_items, generator=generator) < share
    places = torch.arange(1, num_items + 1).double()
    ranks = torch.where(hits, places, torch.inf).sort(dim=1).values
    found = scores_of_ranks(ranks)
    for values, expected in (
        (found["average_precision"], average_precision(hits)),
        (found["average_precision_at_r"], average_precision_at_r(hits)),
        (found["precision_at_r"], precision_at_r(hits)),
    ):
        torch.testing.assert_close(values, expected, equal_nan=True)
    for row, value in zip(hits, found["average_precision"]):
        if row.any():
            assert value.item() == pytest.approx(average_precision_score(row, -places))
    assert torch.equal(found["first_rank"] <= 3, hits[:, :3].any(dim=1))
