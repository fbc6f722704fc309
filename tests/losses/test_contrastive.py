"""The contrastive loss against loops over pairs, cases worked out by hand, and pytorch-metric-learning's."""

from __future__ import annotations

import math

import oracles_pairs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles_pairs import Rows
from pytorch_metric_learning import losses as peers
from pytorch_metric_learning.distances import DotProductSimilarity, LpDistance
from torch import Tensor
from torch.nn.functional import normalize

from shelfmark.core.rng import derive_seed
from shelfmark.losses import QueryBlock, pairs
from shelfmark.losses.contrastive import ContrastiveLoss

MINERS = ["none", "hard", "semihard", "multi_similarity", "distance_weighted"]
MARGINS = {"dot": (1.0, 0.5), "euclidean": (0.0, 1.0)}


def value_and_gradient(loss, embedding: Tensor) -> tuple[Tensor, Tensor]:
    embedding = embedding.detach().clone().requires_grad_()
    value = loss(embedding)
    value.backward()
    return value.detach(), embedding.grad


def loops(loss: ContrastiveLoss, rows: Rows, step: int = 0) -> Tensor:
    margins = [
        default if margin is None else margin
        for margin, default in zip((loss.positive_margin, loss.negative_margin), MARGINS[loss.distance])
    ]
    seed = derive_seed(loss.seed, "distance_weighted")
    return oracles_pairs.contrastive(
        rows, loss.distance, *margins, miner=loss.miner, epsilon=loss.epsilon, seed=seed, step=step
    )


def unit_rows(num_rows: int, dim: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(num_rows, dim, generator=generator, dtype=torch.float64))


def random_labels(num_rows: int, num_classes: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, num_classes, (num_rows,), generator=generator).tolist()


def lattice_rows(num_rows: int, dim: int, seed: int) -> Tensor:
    """Rows of small whole numbers: equal rows, and pairs exactly on a margin of 1."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, 2, (num_rows, dim), generator=generator).double()


@settings(max_examples=60, deadline=None)
@given(
    num_rows=st.integers(1, 12),
    num_classes=st.integers(1, 4),
    make=st.sampled_from([unit_rows, lattice_rows]),
    distance=st.sampled_from(["dot", "euclidean"]),
    margins=st.sampled_from([(None, None), (0.7, 0.2), (0.0, 1.4)]),
    miner=st.sampled_from(MINERS),
    seed=st.integers(0, 10**6),
)
def test_value_and_gradient_equal_the_loops_for_any_labels(num_rows, num_classes, make, distance, margins, miner, seed):
    labels = random_labels(num_rows, num_classes, seed + 1)
    loss = ContrastiveLoss(distance, *margins, miner=miner, epsilon=0.2, seed=seed)
    x, y = make(len(labels), 4, seed), torch.tensor(labels)
    value, gradient = value_and_gradient(lambda x: loss(x, y, step=seed % 7), x)
    expected, expected_gradient = value_and_gradient(lambda x: loops(loss, Rows.of_batch(x, labels), step=seed % 7), x)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("miner", MINERS)
@pytest.mark.parametrize("distance", ["dot", "euclidean"])
def test_blocks_of_queries_give_the_same_value_and_gradient(distance, miner, monkeypatch):
    x, y = unit_rows(23, 5, seed=1), torch.tensor([row**2 % 7 - 1 for row in range(23)])
    loss = ContrastiveLoss(distance, miner=miner)
    expected, expected_gradient = value_and_gradient(lambda x: loss(x, y, step=3), x)
    for rows_per_block in (1, 4):
        monkeypatch.setattr(pairs, "_BLOCK_BYTES", {"cpu": rows_per_block * 23 * 8})
        value, gradient = value_and_gradient(lambda x: 3 * loss(x, y, step=3), x)
        torch.testing.assert_close(value, 3 * expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(gradient, 3 * expected_gradient, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("miner", MINERS)
def test_a_memory_behind_the_batch_serves_as_gallery_and_asks_nothing(miner):
    memory, memory_labels = unit_rows(6, 4, seed=3), [0, 1, 1, -1, 4, 2]
    labels = [0, 1, 2, -1, 2]
    gallery_labels, self_index = labels + memory_labels, torch.arange(5)
    loss = ContrastiveLoss(miner=miner)

    def ours(x: Tensor) -> Tensor:
        gallery, y = torch.cat([x, memory]), torch.tensor(gallery_labels)
        return loss.sums(QueryBlock(x, y[:5], gallery, y, self_index, 2)).mean()

    def theirs(x: Tensor) -> Tensor:
        rows = Rows(x, labels, torch.cat([x, memory]), gallery_labels, self_index.tolist())
        return loops(loss, rows, step=2)

    x = unit_rows(5, 4, seed=2)
    (value, gradient), (expected, expected_gradient) = value_and_gradient(ours, x), value_and_gradient(theirs, x)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-12)


def test_random_negatives_change_with_the_step_and_the_seed():
    x, y = unit_rows(20, 3, seed=7), torch.arange(10).repeat(2)
    loss = ContrastiveLoss(miner="distance_weighted", seed=1)
    assert loss(x, y, step=0) == loss(x, y, step=0)
    assert loss(x, y, step=0) != loss(x, y, step=1)
    assert loss(x, y, step=0) != ContrastiveLoss(miner="distance_weighted", seed=2)(x, y, step=0)


@pytest.mark.parametrize("margins", [(1.0, 0.5), (0.6, 0.1), (0.3, 1.2)])
@pytest.mark.parametrize(
    ("distance", "theirs"),
    [
        ("dot", DotProductSimilarity(normalize_embeddings=False)),
        ("euclidean", LpDistance(normalize_embeddings=False)),
    ],
)
def test_it_is_that_of_pytorch_metric_learning(distance, theirs, margins):
    x, y = unit_rows(36, 6, seed=4), torch.tensor([row % 7 + row % 2 for row in range(36)])
    peer = peers.ContrastiveLoss(*margins, distance=theirs)
    expected, expected_gradient = value_and_gradient(lambda x: peer(x, y), x)
    value, gradient = value_and_gradient(lambda x: ContrastiveLoss(distance, *margins)(x, y), x)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-7, atol=1e-10)


ROWS = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6], [-1.0, 0.0]], dtype=torch.float64)
ROW_LABELS = torch.tensor([0, 0, 1, 1])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        # Positive pairs have s = 0.6 and -0.8, negative ones 0.8, -1, 0.96 and -0.6, each in both directions.
        (ContrastiveLoss(), (0.4 + 1.8) / 2 + (0.3 + 0.46) / 2),
        (ContrastiveLoss("dot", 0.5, 0.9), 1.3 + 0.06),
        (ContrastiveLoss("dot", -1.0, 0.97), 0),
        (
            ContrastiveLoss("euclidean"),
            (math.sqrt(0.8) + math.sqrt(3.6)) / 2 + (1 - math.sqrt(0.4) + 1 - math.sqrt(0.08)) / 2,
        ),
        # The hardest negatives are at 0.8, 0.96, 0.96 and -0.6.
        (ContrastiveLoss(miner="hard"), (0.4 + 1.8) / 2 + (0.3 + 2 * 0.46) / 3),
    ],
)
def test_a_case_worked_out_by_hand(loss, expected):
    assert float(loss(ROWS, ROW_LABELS)) == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("distance", ["dot", "euclidean"])
@pytest.mark.parametrize("labels", [[], [0], [-1, -1, 0]])
def test_without_a_pair_value_and_gradient_are_0(labels, distance):
    y = torch.tensor(labels, dtype=torch.int64)
    value, gradient = value_and_gradient(lambda x: ContrastiveLoss(distance)(x, y), torch.ones(len(labels), 3))
    assert float(value) == 0
    assert gradient.shape == (len(labels), 3)
    assert not gradient.any()


def test_one_class_alone_has_only_the_positive_term_and_single_images_only_the_negative_one():
    x = ROWS[:3]
    value = ContrastiveLoss()(x, torch.tensor([5, 5, 5]))
    assert float(value) == pytest.approx((0.4 + 0.2 + 0.04) / 3)
    value = ContrastiveLoss()(x, torch.tensor([5, 6, 7]))
    assert float(value) == pytest.approx((0.1 + 0.3 + 0.46) / 3)


@pytest.mark.parametrize("miner", MINERS)
@pytest.mark.parametrize("distance", ["dot", "euclidean"])
def test_collapsed_embeddings_have_a_finite_value_and_gradient(distance, miner):
    x, y = normalize(torch.ones(12, 5)), torch.arange(4).repeat_interleave(3)
    value, gradient = value_and_gradient(lambda x: ContrastiveLoss(distance, miner=miner)(x, y), x)
    assert float(value) == pytest.approx({"dot": 0.5, "euclidean": 1.0}[distance], abs=1e-3)
    assert gradient.isfinite().all()


def test_rows_without_a_label_change_nothing_and_neither_does_the_order():
    x, y = unit_rows(14, 4, seed=5), torch.tensor([row % 4 for row in range(10)] + [-1] * 4)
    order = torch.randperm(14, generator=torch.Generator().manual_seed(0))
    expected = ContrastiveLoss()(x[:10], y[:10])
    torch.testing.assert_close(ContrastiveLoss()(x, y), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(ContrastiveLoss()(x[order], y[order]), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("distance", ["dot", "euclidean"])
def test_coarser_vectors_are_computed_in_float32(distance, dtype):
    x, labels = unit_rows(24, 16, seed=8).to(dtype), [row % 6 for row in range(24)]
    loss = ContrastiveLoss(distance)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradient = value_and_gradient(lambda x: loss(x, torch.tensor(labels)), x)
    expected, expected_gradient = value_and_gradient(lambda x: loops(loss, Rows.of_batch(x, labels)), x.double())
    assert (value.dtype, gradient.dtype) == (torch.float32, dtype)
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    tolerance = 1e-5 if dtype == torch.float32 else torch.finfo(dtype).eps
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=tolerance, atol=tolerance / 10)
