"""The triplet loss against loops over triplets, cases worked out by hand, and pytorch-metric-learning's."""

from __future__ import annotations

import math

import oracles_pairs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles_pairs import Rows
from pytorch_metric_learning.distances import DotProductSimilarity, LpDistance
from pytorch_metric_learning.losses import TripletMarginLoss
from torch import Tensor
from torch.nn.functional import normalize

from shelfmark.core.rng import derive_seed
from shelfmark.losses import QueryBlock, pairs
from shelfmark.losses.triplet import TripletLoss

MININGS = ["all", "semihard", "hard", "soft", "distance_weighted"]
DISTANCES = ["euclidean", "squared_euclidean", "cosine"]


def value_and_gradient(loss, embedding: Tensor) -> tuple[Tensor, Tensor]:
    embedding = embedding.detach().clone().requires_grad_()
    value = loss(embedding)
    value.backward()
    return value.detach(), embedding.grad


def loops(loss: TripletLoss, rows: Rows, step: int = 0) -> Tensor:
    seed = derive_seed(loss.seed, "distance_weighted")
    return oracles_pairs.triplet(rows, loss.margin, loss.mining, loss.distance, seed, step)


def unit_rows(num_rows: int, dim: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(num_rows, dim, generator=generator, dtype=torch.float64))


def random_labels(num_rows: int, num_classes: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, num_classes, (num_rows,), generator=generator).tolist()


def lattice_rows(num_rows: int, dim: int, seed: int) -> Tensor:
    """Rows of small whole numbers: equal distances, equal rows, and triplets exactly on the margin 1."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, 2, (num_rows, dim), generator=generator).double()


@settings(max_examples=60, deadline=None)
@given(
    num_rows=st.integers(1, 11),
    num_classes=st.integers(1, 4),
    make=st.sampled_from([unit_rows, lattice_rows]),
    margin=st.sampled_from([0.0, 0.3, 1.0]),
    mining=st.sampled_from(MININGS),
    distance=st.sampled_from(DISTANCES),
    seed=st.integers(0, 10**6),
)
def test_value_and_gradient_equal_the_loops_for_any_labels(num_rows, num_classes, make, margin, mining, distance, seed):
    labels = random_labels(num_rows, num_classes, seed + 1)
    loss, x, y = TripletLoss(margin, mining, distance, seed), make(len(labels), 4, seed), torch.tensor(labels)
    value, gradient = value_and_gradient(lambda x: loss(x, y, step=seed % 7), x)
    expected, expected_gradient = value_and_gradient(lambda x: loops(loss, Rows.of_batch(x, labels), step=seed % 7), x)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize("mining", MININGS)
def test_blocks_of_queries_give_the_same_value_and_gradient(mining, margin, monkeypatch):
    x, y = unit_rows(23, 5, seed=1), torch.tensor([row**2 % 7 - 1 for row in range(23)])
    loss = TripletLoss(margin, mining)
    expected, expected_gradient = value_and_gradient(lambda x: loss(x, y, step=3), x)
    for rows_per_block in (1, 4):
        monkeypatch.setattr(pairs, "_BLOCK_BYTES", {"cpu": rows_per_block * 23 * 8})
        value, gradient = value_and_gradient(lambda x: 3 * loss(x, y, step=3), x)
        torch.testing.assert_close(value, 3 * expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(gradient, 3 * expected_gradient, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize("mining", MININGS)
def test_a_memory_behind_the_batch_serves_as_gallery_and_asks_nothing(mining, margin):
    memory, memory_labels = unit_rows(6, 4, seed=3), [0, 1, 1, -1, 4, 2]
    labels, self_index = [0, 1, 2, -1, 2], torch.tensor([3, 1, 0, 4, 2])
    gallery_labels = [labels[int(row)] for row in self_index.argsort()] + memory_labels
    loss = TripletLoss(margin, mining)

    def gallery(x: Tensor) -> Tensor:
        return torch.cat([x[self_index.argsort()], memory])

    def ours(x: Tensor) -> Tensor:
        y, gallery_y = torch.tensor(labels), torch.tensor(gallery_labels)
        return loss.sums(QueryBlock(x, y, gallery(x), gallery_y, self_index, 2)).mean()

    def theirs(x: Tensor) -> Tensor:
        return loops(loss, Rows(x, labels, gallery(x), gallery_labels, self_index.tolist()), step=2)

    x = unit_rows(5, 4, seed=2)
    (value, gradient), (expected, expected_gradient) = value_and_gradient(ours, x), value_and_gradient(theirs, x)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("margin", [0.0, 0.1, 0.5])
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
    expected, expected_gradient = value_and_gradient(lambda x: peer(length * x, y), x)
    value, gradient = value_and_gradient(lambda x: TripletLoss(margin, "all", distance)(x, y), x)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-7, atol=1e-10)


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
    value, gradient = value_and_gradient(
        lambda x: TripletLoss(1.0)(x, torch.tensor([0, 0, 1])), torch.tensor([[0.0], [1.0], [2.0]])
    )
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


@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize("mining", MININGS)
@pytest.mark.parametrize("labels", [[], [0], [0, 0, 0], [0, 1, 2], [-1, -1, 0, 0]])
def test_without_a_triplet_value_and_gradient_are_0(labels, mining, margin):
    y = torch.tensor(labels, dtype=torch.int64)
    value, gradient = value_and_gradient(lambda x: TripletLoss(margin, mining)(x, y), torch.ones(len(labels), 3))
    assert float(value) == 0
    assert gradient.shape == (len(labels), 3)
    assert not gradient.any()


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("mining", MININGS)
def test_collapsed_embeddings_cost_the_margin_with_a_finite_gradient(mining, distance):
    x, y = normalize(torch.ones(12, 5)), torch.arange(4).repeat_interleave(3)
    for margin, expected in ((0.3, 0.3), (0.0, math.log(2))):
        value, gradient = value_and_gradient(lambda x: TripletLoss(margin, mining, distance)(x, y), x)  # noqa: B023
        assert float(value) == pytest.approx(expected, rel=1e-5)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize("mining", MININGS)
def test_rows_without_a_label_change_nothing(mining, margin):
    x, y = unit_rows(14, 4, seed=5), torch.tensor([row % 4 for row in range(10)] + [-1] * 4)
    loss = TripletLoss(margin, mining)
    torch.testing.assert_close(loss(x, y), loss(x[:10], y[:10]), rtol=1e-12, atol=0)


@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize("mining", ["all", "semihard", "hard", "soft"])
def test_the_order_of_rows_does_not_matter(mining, margin):
    x, y = unit_rows(20, 4, seed=6), torch.tensor([row % 6 for row in range(20)])
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    loss = TripletLoss(margin, mining)
    torch.testing.assert_close(loss(x[order], y[order]), loss(x, y), rtol=1e-12, atol=0)


def test_distance_weighted_mining_draws_anew_each_step():
    x, y = unit_rows(20, 4, seed=7), torch.arange(10).repeat(2)
    loss = TripletLoss(0.3, "distance_weighted", seed=1)
    assert loss(x, y, step=0) == loss(x, y, step=0)
    assert loss(x, y, step=0) != loss(x, y, step=1)
    assert loss(x, y, step=0) != TripletLoss(0.3, "distance_weighted", seed=2)(x, y, step=0)


@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize("mining", MININGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_coarser_vectors_are_computed_in_float32(dtype, mining, margin):
    x, labels = unit_rows(24, 16, seed=8).to(dtype), [row % 6 for row in range(24)]
    loss = TripletLoss(margin, mining)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradient = value_and_gradient(lambda x: loss(x, torch.tensor(labels)), x)
    expected, expected_gradient = value_and_gradient(lambda x: loops(loss, Rows.of_batch(x, labels)), x.double())
    assert (value.dtype, gradient.dtype) == (torch.float32, dtype)
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    tolerance = 1e-5 if dtype == torch.float32 else torch.finfo(dtype).eps
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=tolerance, atol=tolerance / 10)


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


@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("mining", ["hard", "soft"])
@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 2, 2, 2, 2, 0]])
def test_with_the_query_among_its_positives_it_is_that_of_fast_reid(labels, mining, distance, margin):
    loss, x = TripletLoss(margin, mining, distance, include_self=True), unit_rows(len(labels), 5, seed=3)
    value, gradient = value_and_gradient(lambda x: loss(x, torch.tensor(labels)), x)
    expected, expected_gradient = value_and_gradient(
        lambda x: fast_reid_triplet(x, labels, mining, margin, distance), x
    )
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-11)
