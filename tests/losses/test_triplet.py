"""The triplet loss against loops over triplets, cases worked out by hand, and pytorch-metric-learning's."""

from __future__ import annotations

import math
from functools import partial

import oracles_pairs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_checks import SEEDS, Batch, assert_equals_oracle, assert_same, batches, rows_of, unit_rows, value_and_gradient
from pytorch_metric_learning.distances import DotProductSimilarity, LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from torch import Tensor

from shelfmark.core.rng import derive_seed
from shelfmark.losses import QueryBlock
from shelfmark.losses.triplet import TripletLoss

MININGS = ["all", "semihard", "hard", "soft", "distance_weighted"]
DISTANCES = ["euclidean", "squared_euclidean", "cosine"]


def triplet_by_loops(loss: TripletLoss, batch: Batch, step: int = 0) -> Tensor:
    seed = derive_seed(loss.seed, "distance_weighted")
    return oracles_pairs.triplet(rows_of(batch), loss.margin, loss.mining, loss.distance, seed, step)


@settings(max_examples=50, deadline=None)
@given(
    batch=batches(exact=True),
    margin=st.sampled_from([0.0, 0.3, 1.0]),
    mining=st.sampled_from(MININGS),
    distance=st.sampled_from(DISTANCES),
    seed=SEEDS,
)
def test_value_and_gradient_equal_the_loops_for_any_labels(batch, margin, mining, distance, seed):
    loss = TripletLoss(margin, mining, distance, seed)
    assert_equals_oracle(loss, partial(triplet_by_loops, loss, step=seed % 7), batch, step=seed % 7, rtol=1e-9)


@pytest.mark.parametrize("margin", [0.0, 0.1])
@pytest.mark.parametrize(
    ("distance", "theirs"),
    [
        ("euclidean", LpDistance(normalize_embeddings=False)),
        ("squared_euclidean", LpDistance(normalize_embeddings=False, power=2)),
        ("cosine", DotProductSimilarity(normalize_embeddings=False)),
    ],
)
def test_over_all_triplets_it_is_that_of_pytorch_metric_learning(distance, theirs, margin):
    x, y = unit_rows(36, 6, seed=4), torch.tensor([row % 7 + row % 2 for row in range(36)])
    peer = TripletMarginLoss(margin=margin, smooth_loss=margin == 0, distance=theirs)
    # Rows longer by the square root of 2 make their s the 2 s of ours.
    length = math.sqrt(2) if distance == "cosine" else 1
    expected = value_and_gradient(lambda x: peer(length * x, y), x)
    assert_same(value_and_gradient(TripletLoss(margin, "all", distance), x, y), expected, rtol=1e-7, atol=1e-10)


LINE = torch.tensor([[0.0], [1.0], [1.5], [4.0]], dtype=torch.float64)
LINE_LABELS = torch.tensor([0, 0, 1, 1])


@pytest.mark.parametrize(
    ("mining", "expected"),
    [
        # d_p and its two d_n: 1 to 1.5, 4; 1 to 0.5, 3; 2.5 to 1.5, 0.5; 2.5 to 4, 3. Three triplets are below 0.
        ("all", (0.5 + 1.5 + 2 + 3 + 0.5) / 5),
        # The nearest negative that is farther: 1.5; 3; none of query 2's is, so 1.5; 3.
        ("semihard", (0.5 + 0 + 2 + 0.5) / 4),
        ("hard", (0.5 + 1.5 + 3 + 0.5) / 4),
    ],
)
def test_a_case_worked_out_by_hand(mining, expected):
    assert float(TripletLoss(1.0, mining)(LINE, LINE_LABELS)) == pytest.approx(expected, rel=1e-12)


def test_a_triplet_exactly_on_the_margin_is_not_counted():
    # Query 0 has d_p = 1, d_n = 2; query 1 has 1 and 1.
    x = torch.tensor([[0.0], [1.0], [2.0]])
    value, gradient = value_and_gradient(TripletLoss(1.0), x, torch.tensor([0, 0, 1]))
    assert float(value) == 1
    assert gradient.tolist() == [[-1], [2], [-1]]


def test_soft_weights_worked_out_by_hand():
    # Query 0 alone has two positives, at 1 and 2, and two negatives, at 3 and 5; one query is left in the sum.
    x = torch.tensor([[0.0], [1.0], [-2.0], [3.0], [5.0]], dtype=torch.float64)
    gallery_labels = torch.tensor([0, 0, 0, 1, 2])
    block = QueryBlock(x[:1], gallery_labels[:1], x, gallery_labels, torch.tensor([0]))
    pull = (1 + 2 * math.e) / (1 + math.e)
    push = (3 + 5 * math.exp(-2)) / (1 + math.exp(-2))
    value = TripletLoss(2.5, "soft").sums(block).mean()
    assert float(value) == pytest.approx(2.5 + pull - push, rel=1e-12)
    value = TripletLoss(0.0, "soft").sums(block).mean()
    assert float(value) == pytest.approx(math.log1p(math.exp(pull - push)), rel=1e-12)


@pytest.mark.parametrize(
    ("mining", "labels", "differences"),
    [
        ("hard", [0, 0, 1, 1], [-22, -21, -21, -22]),
        ("hard", [0, 1, 0, 1], [22, 22, 22, 22]),
        ("all", [0, 1, 0, 1], [22, -1, 22, 1, 1, 22, -1, 22]),
    ],
)
def test_a_soft_margin_keeps_its_digits_far_from_0(mining, labels, differences):
    x = torch.tensor([[0.0], [1.0], [23.0], [24.0]], dtype=torch.float64)
    value = TripletLoss(0.0, mining)(x, torch.tensor(labels))
    # ln(1 + e^u), of which e^-|u| would be lost by rounding 1 + e^-|u| or by cutting it off at 20.
    expected = [max(u, 0) + math.log1p(math.exp(-abs(u))) for u in differences]
    assert float(value) == pytest.approx(sum(expected) / len(expected), rel=1e-13)


def fast_reid_triplet(embedding: Tensor, labels: list[int], mining: str, margin: float, distance: str) -> Tensor:
    """Row by row: the query is among its positives, at distance 0."""
    losses = []
    for query, label in zip(range(len(labels)), labels):
        near, far = [], []
        for other in range(len(labels)):
            difference = embedding[query] - embedding[other]
            if distance == "cosine":
                between = 2 - 2 * (embedding[query] * embedding[other]).sum()
            else:
                between = difference.square().sum().sqrt() if query != other else difference.sum() * 0
            (near if labels[other] == label else far).append(between if query != other else between * 0)
        if not far:
            continue
        positives, negatives = torch.stack(near), torch.stack(far)
        if mining == "hard":
            excess = positives.max() - negatives.min()
        else:
            excess = (positives.softmax(0) * positives).sum() - ((-negatives).softmax(0) * negatives).sum()
        losses.append((excess + margin).clamp_min(0) if margin else (1 + excess.exp()).log())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 2, 2, 2, 2, 0]])
@pytest.mark.parametrize("mining", ["hard", "soft"])
@pytest.mark.parametrize(("distance", "margin"), [("euclidean", 0.0), ("cosine", 0.3)])
def test_with_the_query_among_its_positives_it_is_that_of_fast_reid(labels, mining, distance, margin):
    loss, x = TripletLoss(margin, mining, distance, include_self=True), unit_rows(len(labels), 5, seed=3)
    expected = value_and_gradient(fast_reid_triplet, x, labels, mining, margin, distance)
    assert_same(value_and_gradient(loss, x, torch.tensor(labels)), expected, rtol=1e-9, atol=1e-11)
