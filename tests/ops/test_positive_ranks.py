from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from shelfmark.ops import positive_ranks as module
from shelfmark.ops.positive_ranks import PositiveRanks, positive_ranks
from shelfmark.ops.rank_metrics import (
    average_precision,
    average_precision_at_k,
    average_precision_at_r,
    inverse_negative_penalty,
    precision_at_r,
    reciprocal_rank,
)


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
    counted=st.sampled_from([0, 32]),
)
def test_positive_ranks_equal_places_in_a_sorted_list(
    seed: int, num_items: int, levels: int, dtype: torch.dtype, counted: int
) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(levels, size=(6, num_items)).astype(float) - 0.0
    scores[scores == 1] = -np.inf
    positives = np.stack([generator.permutation(num_items)[: max(1, num_items // 2)] for _ in range(6)])
    positives[generator.random(positives.shape) < 0.3] = -1
    with pytest.MonkeyPatch.context() as patch:
        # 0: every row is sorted.
        patch.setattr(module, "_COUNTED_POSITIVES", counted)
        ranks = positive_ranks(torch.from_numpy(scores).to(dtype), torch.from_numpy(positives))
    assert ranks.ranks.tolist() == _slow_ranks(scores, positives)


def test_the_three_ways_to_find_ranks_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    # Rows without ties, rows with many, and one without a positive.
    scores = torch.cat([torch.randn(4, 200, generator=generator), torch.randint(9, (4, 200), generator=generator)])
    at = torch.stack([torch.randperm(200, generator=generator)[:7] for _ in range(8)])
    missing = torch.rand(8, 7, generator=generator) < 0.3
    missing[5] = True
    by_row = module._counted_row_by_row(scores.numpy(), at.numpy(), missing.numpy())
    in_columns = module._settled(scores, at, missing, *module._ahead_in_columns(scores, at))
    in_sorted_rows = module._settled(scores, at, missing, *module._ahead_in_sorted_rows(scores, at))
    assert torch.equal(by_row[~missing], in_columns[~missing])
    assert torch.equal(by_row[~missing], in_sorted_rows[~missing])


def test_ties_are_resolved_in_any_number_of_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COUNTED_POSITIVES", 0)
    scores, positives = torch.zeros(4, 9), torch.tensor([[8, 0], [3, -1], [5, 4], [7, 2]])
    whole = positive_ranks(scores, positives).ranks
    monkeypatch.setattr(module, "_TIED_AT_A_TIME", 3)
    assert torch.equal(positive_ranks(scores, positives).ranks, whole)
    assert whole.tolist() == [[1, 9], [4, math.inf], [5, 6], [3, 8]]


@pytest.mark.parametrize("counted", [0, 32])
def test_minus_zero_equals_zero(counted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COUNTED_POSITIVES", counted)
    assert positive_ranks(torch.tensor([[0.0, -0.0]]), torch.tensor([[1]])).ranks.tolist() == [[2]]
    assert positive_ranks(torch.tensor([[-0.0, 0.0]]), torch.tensor([[1]])).ranks.tolist() == [[2]]


def test_no_positives_at_all_are_no_ranks() -> None:
    found = positive_ranks(torch.randn(2, 5), torch.empty(2, 0, dtype=torch.int64))
    assert found.average_precision().isnan().all()
    assert found.first_rank().isnan().all()
    assert found.precision_at_k(3).isnan().all()
    assert positive_ranks(torch.empty(0, 5), torch.empty(0, 2, dtype=torch.int64)).first_rank().shape == (0,)


def test_scores_of_ranks_worked_by_hand() -> None:
    # Positives at places 1, 3 and 6; at place 2; nowhere.
    ranks = PositiveRanks(torch.tensor([[1, 3, 6], [2, math.inf, math.inf], [math.inf] * 3], dtype=torch.float64))
    expected = {
        "first_rank": [1, 2],
        "average_precision": [(1 + 2 / 3 + 3 / 6) / 3, 1 / 2],
        "average_precision_at_r": [(1 + 2 / 3) / 3, 0],
        "precision_at_r": [2 / 3, 0],
        "inverse_negative_penalty": [3 / 6, 1 / 2],
    }
    for name, values in expected.items():
        found = getattr(ranks, name)()
        assert found[:2].tolist() == pytest.approx(values)
        assert math.isnan(found[2])
    assert ranks.precision_at_k(4)[:2].tolist() == pytest.approx([2 / 4, 1 / 4])
    assert ranks.average_precision_at_k(2)[:2].tolist() == pytest.approx([1 / 2, 1 / 2])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), num_items=st.integers(1, 25), share=st.floats(0, 1))
def test_scores_from_ranks_from_hits_and_from_scikit_learn_agree(seed: int, num_items: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    hits = torch.rand(5, num_items, generator=generator) < share
    places = torch.arange(1, num_items + 1).double()
    ranks = torch.where(hits, places, torch.inf).sort(dim=1).values
    found = PositiveRanks(ranks)
    for values, expected in (
        (found.average_precision(), average_precision(hits)),
        (found.average_precision_at_r(), average_precision_at_r(hits)),
        (found.average_precision_at_k(4), average_precision_at_k(hits, 4)),
        (found.precision_at_r(), precision_at_r(hits)),
        (1 / found.first_rank(), reciprocal_rank(hits)),
        (found.inverse_negative_penalty(), inverse_negative_penalty(hits)),
    ):
        torch.testing.assert_close(values, expected, equal_nan=True)
    for row, value in zip(hits, found.average_precision()):
        if row.any():
            assert value.item() == pytest.approx(average_precision_score(row, -places))
    assert torch.equal(found.first_rank() <= 3, hits[:, :3].any(dim=1))
