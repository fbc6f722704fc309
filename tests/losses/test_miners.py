"""The miners against loops, cases worked out by hand, and pytorch-metric-learning's."""

from __future__ import annotations

import math

import oracles_pairs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_checks import SEEDS, lattice_rows, unit_rows
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.miners import BatchHardMiner, MultiSimilarityMiner
from torch import Tensor

from shelfmark.core.rng import derive_seed
from shelfmark.losses import miners
from shelfmark.losses.miners import (
    distance_weighted_negatives,
    mined_pairs,
    positive_columns,
    semihard_negatives,
    with_positive_and_negative,
)
from shelfmark.losses.pairs import Pairs

MINERS = ["none", "hard", "semihard", "multi_similarity", "distance_weighted"]


def block(x: Tensor, labels: list[int], step: int = 0, rows: list[int] | None = None) -> Pairs:
    """The pairs of some rows of a batch, of all unless said."""
    rows = list(range(len(labels))) if rows is None else rows
    gallery_labels, self_index = torch.tensor(labels), torch.tensor(rows, dtype=torch.int64)
    return Pairs(x[self_index], gallery_labels[self_index], x, gallery_labels, self_index, step)


def listed(mask: Tensor) -> list[tuple[int, int]]:
    return [tuple(pair) for pair in mask.nonzero().tolist()]


def loops(x: Tensor, labels: list[int], miner: str, epsilon: float = 0.1, seed: int = 0, step: int = 0):
    rows = oracles_pairs.Rows.of_batch(x, labels)
    return oracles_pairs.mined(rows, miner, epsilon, derive_seed(seed, "distance_weighted"), step)


@settings(max_examples=50, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 3), min_size=4, max_size=14),
    make=st.sampled_from([unit_rows, lattice_rows]),
    dim=st.sampled_from([1, 2, 3, 8]),
    miner=st.sampled_from(MINERS),
    epsilon=st.sampled_from([0.0, 0.1, 0.55]),
    seed=SEEDS,
    step=st.integers(0, 10**6),
)
def test_the_kept_pairs_are_those_of_the_loops_for_any_labels(labels, make, dim, miner, epsilon, seed, step):
    x = make(len(labels), dim, seed)
    positive, negative = mined_pairs(block(x, labels, step), miner, epsilon=epsilon, seed=seed)
    assert (listed(positive), listed(negative)) == loops(x, labels, miner, epsilon, seed, step)


@pytest.mark.parametrize("miner", MINERS)
def test_what_is_kept_of_a_query_depends_on_no_other_query(miner):
    x, labels = unit_rows(30, 6, seed=1), [row % 7 - 1 for row in range(30)]
    whole = mined_pairs(block(x, labels, step=5), miner, seed=3)
    some = [28, 2, 3, 15]
    part = mined_pairs(block(x, labels, step=5, rows=some), miner, seed=3)
    assert all(torch.equal(theirs, ours[some]) for theirs, ours in zip(part, whole))


@pytest.mark.parametrize("miner", MINERS)
def test_no_rows_and_one_row_keep_no_pairs(miner):
    for num_rows in (0, 1):
        positive, negative = mined_pairs(block(torch.ones(num_rows, 3), [0] * num_rows), miner)
        assert positive.shape == negative.shape == (num_rows, num_rows)
        assert not (positive | negative).any()


@pytest.fixture
def line() -> Pairs:
    """Query 0 has similarities 5, 2, 4 to positives and 3, 4, 1, 4.5 to negatives; it is the only query."""
    gallery = torch.tensor([[1.0], [5.0], [2.0], [4.0], [3.0], [4.0], [1.0], [4.5], [9.0]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, -1])
    return Pairs(gallery[:1], labels[:1], gallery, labels, torch.tensor([0]), 0)


@pytest.mark.parametrize(
    ("miner", "positives", "negatives"),
    [
        ("none", [1, 2, 3], [4, 5, 6, 7]),
        ("hard", [2], [7]),
        # Below 5 lies 4.5, below 2 lies 1, below 4 lies 3: the 4 is as similar, not less.
        ("semihard", [1, 2, 3], [4, 6, 7]),
        # The positive 4 is below 4.5 + 0.1; the negative 1 is not above 2 - 0.1.
        ("multi_similarity", [2, 3], [4, 5, 7]),
    ],
)
def test_a_case_worked_out_by_hand(line, miner, positives, negatives):
    positive, negative = mined_pairs(line, miner)
    assert positive[0].nonzero()[:, 0].tolist() == positives
    assert negative[0].nonzero()[:, 0].tolist() == negatives


@pytest.mark.parametrize(
    ("epsilon", "positives", "negatives"),
    [
        (1.01, [1, 2, 3], [4, 5, 6, 7]),
        (0.0, [2, 3], [4, 5, 7]),
        (0.5, [2, 3], [4, 5, 7]),  # the positive 5 is not below 4.5 + 0.5
        (1.0, [1, 2, 3], [4, 5, 7]),  # the negative 1 is not above 2 - 1
    ],
)
def test_epsilon_keeps_pairs_that_violate_by_less_than_it(line, epsilon, positives, negatives):
    positive, negative = mined_pairs(line, "multi_similarity", epsilon=epsilon)
    assert positive[0].nonzero()[:, 0].tolist() == positives
    assert negative[0].nonzero()[:, 0].tolist() == negatives


def test_a_positive_behind_all_negatives_takes_the_farthest_of_them():
    distance = torch.tensor([[9.0, 3.0, 5.0, 5.0, 1.0]])
    negative = torch.tensor([[False, True, True, True, False]])
    negatives = semihard_negatives(distance, torch.tensor([[0, 4]]), negative)
    assert negatives.tolist() == [[2, 1]]


def test_the_multi_similarity_miner_is_that_of_pytorch_metric_learning():
    x, labels = unit_rows(60, 8, seed=2), [row % 13 for row in range(60)]
    anchors, positives, others, negatives = MultiSimilarityMiner(0.07, distance=CosineSimilarity())(
        x, torch.tensor(labels)
    )
    positive, negative = mined_pairs(block(x, labels), "multi_similarity", epsilon=0.07)
    assert listed(positive) == sorted(zip(anchors.tolist(), positives.tolist()))
    assert listed(negative) == sorted(zip(others.tolist(), negatives.tolist()))


def test_the_hard_miner_is_that_of_pytorch_metric_learning():
    x, labels = unit_rows(60, 8, seed=3), [row % 13 for row in range(60)]
    anchors, positives, negatives = BatchHardMiner(distance=CosineSimilarity())(x, torch.tensor(labels))
    positive, negative = mined_pairs(block(x, labels), "hard")
    assert listed(positive) == list(zip(anchors.tolist(), positives.tolist()))
    assert listed(negative) == list(zip(anchors.tolist(), negatives.tolist()))


# --- distance-weighted draws ---


def circle(distances: list[float]) -> Tensor:
    """Rows of length 1 in three dimensions: the first, and others at these distances from it."""
    angles = [0.0, *(2 * math.asin(distance / 2) for distance in distances)]
    return torch.tensor([[math.cos(angle), math.sin(angle), 0.0] for angle in angles], dtype=torch.float64)


def shares(x: Tensor, num_draws: int = 20_000) -> list[float]:
    """How often each row is drawn as a negative of row 0, which has a label of its own."""
    columns = distance_weighted_negatives(block(x, [0] + [1] * (len(x) - 1), rows=[0]), num_draws, seed=0)
    return (torch.bincount(columns[0], minlength=len(x)) / num_draws).tolist()


def test_negatives_are_drawn_in_inverse_proportion_to_the_density_of_their_distance():
    # In 3 dimensions q(d) = d, so the weights are 1/0.5, 1/0.5, 1/0.8, 1/1.25, and 0 from 1.4 on.
    weights = [0.0, 2.0, 2.0, 1.25, 0.8, 0.0]
    drawn = shares(circle([0.2, 0.5, 0.8, 1.25, 1.41]))
    assert drawn == pytest.approx([weight / sum(weights) for weight in weights], abs=0.015)
    assert drawn[0] == drawn[5] == 0


def test_the_least_and_the_largest_number_draw_the_first_and_the_last_negative(monkeypatch):
    extremes = torch.tensor([[0.0, 1 - 2.0**-53]], dtype=torch.float64)
    monkeypatch.setattr(miners, "uniform", lambda *_: extremes)
    # Rows 0 and 1 are no negatives, row 4 is too far.
    pairs = block(circle([0.3, 0.7, 0.9, 1.5]), [0, 0, 1, 1, 1], rows=[0])
    assert distance_weighted_negatives(pairs, 2, seed=0).tolist() == [[2, 3]]


@pytest.mark.parametrize("dim", [2, 3, 9, 24])
def test_each_of_many_draws_is_that_of_the_loops(dim):
    x, labels = unit_rows(30, dim, seed=6), [row % 4 for row in range(30)]
    rows, seed = oracles_pairs.Rows.of_batch(x, labels), derive_seed(7, "distance_weighted")
    columns = distance_weighted_negatives(block(x, labels, step=11), 40, seed=7)
    expected = [oracles_pairs.drawn_negatives(rows, i, 40, negatives, seed, 11) for i, _, negatives in rows.sides()]
    assert columns.tolist() == expected


def test_negatives_beyond_the_farther_cut_off_are_drawn_alike_where_there_are_no_others():
    assert shares(circle([1.45, 1.6, 1.99])) == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3], abs=0.015)


def test_many_dimensions_neither_overflow_nor_draw_what_is_no_negative():
    x = torch.cat([circle([0.4, 0.9, 1.3]).float(), torch.zeros(4, 2045)], dim=1)
    x = torch.nn.functional.pad(x, (0, 4096 - x.shape[1]))
    columns = distance_weighted_negatives(block(x, [0, 1, 0, 1]), 50, seed=0)
    assert columns[0].unique().tolist() == [1]
    assert set(columns[1].tolist()) <= {0, 2}


def test_draws_change_with_the_step_and_the_seed_and_repeat_without():
    x, labels = unit_rows(40, 4, seed=4), [row // 2 for row in range(40)]

    def drawn(step: int, seed: int) -> Tensor:
        return mined_pairs(block(x, labels, step), "distance_weighted", seed=seed)[1]

    assert torch.equal(drawn(1, 1), drawn(1, 1))
    assert not torch.equal(drawn(1, 1), drawn(2, 1))
    assert not torch.equal(drawn(1, 1), drawn(1, 2))


# --- the parts that miners and losses share ---


def test_positive_columns_are_listed_in_order_and_padded():
    positive = torch.tensor([[0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]]).bool()
    columns, is_positive = positive_columns(positive)
    assert columns.tolist() == [[1, 3], [0, 0], [0, 0]]
    assert is_positive.tolist() == [[True, True], [False, False], [True, False]]


def test_queries_that_lack_a_positive_or_a_negative_are_left_out_and_the_richest_come_first():
    x, labels = unit_rows(7, 3, seed=5), [4, -1, 4, 2, 0, 4, 0]
    kept = with_positive_and_negative(block(x, labels))
    assert kept.self_index.tolist() == [0, 2, 5, 4, 6]
    assert kept.query_labels.tolist() == [4, 4, 4, 0, 0]
    assert torch.equal(kept.query, x[[0, 2, 5, 4, 6]])
    assert len(with_positive_and_negative(block(x, [3] * 7)).query) == 0
