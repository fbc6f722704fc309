"""The lifted structured loss against loops over pairs, a case worked out by hand, and pytorch-metric-learning's."""

from __future__ import annotations

import math

import oracles_pairs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles_pairs import Rows
from pytorch_metric_learning import losses as peers
from pytorch_metric_learning.distances import LpDistance
from torch import Tensor
from torch.nn.functional import normalize

from shelfmark.losses import QueryBlock, pairs
from shelfmark.losses.lifted_structure import LiftedStructureLoss


def value_and_gradient(loss, embedding: Tensor) -> tuple[Tensor, Tensor]:
    embedding = embedding.detach().clone().requires_grad_()
    value = loss(embedding)
    value.backward()
    return value.detach(), embedding.grad


def unit_rows(num_rows: int, dim: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(num_rows, dim, generator=generator, dtype=torch.float64))


def random_labels(num_rows: int, num_classes: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, num_classes, (num_rows,), generator=generator).tolist()


def lattice_rows(num_rows: int, dim: int, seed: int) -> Tensor:
    """Rows of small whole numbers: equal distances and equal rows."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, 2, (num_rows, dim), generator=generator).double()


@settings(max_examples=60, deadline=None)
@given(
    num_rows=st.integers(1, 11),
    num_classes=st.integers(1, 4),
    make=st.sampled_from([unit_rows, lattice_rows]),
    margin=st.sampled_from([1.0, 0.2, -1.5]),
    seed=st.integers(0, 10**6),
)
def test_value_and_gradient_equal_the_loops_for_any_labels(num_rows, num_classes, make, margin, seed):
    labels = random_labels(num_rows, num_classes, seed + 1)
    x, y = make(len(labels), 4, seed), torch.tensor(labels)
    value, gradient = value_and_gradient(lambda x: LiftedStructureLoss(margin)(x, y), x)
    expected, expected_gradient = value_and_gradient(
        lambda x: oracles_pairs.lifted_structure(Rows.of_batch(x, labels), margin), x
    )
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-11)


def test_blocks_of_queries_give_the_same_value_and_gradient(monkeypatch):
    x, y = unit_rows(23, 5, seed=1), torch.tensor([row**2 % 7 - 1 for row in range(23)])
    loss = LiftedStructureLoss()
    expected, expected_gradient = value_and_gradient(lambda x: loss(x, y), x)
    for rows_per_block in (1, 4):
        monkeypatch.setattr(pairs, "_BLOCK_BYTES", {"cpu": rows_per_block * 23 * 8})
        value, gradient = value_and_gradient(lambda x: 3 * loss(x, y), x)
        torch.testing.assert_close(value, 3 * expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(gradient, 3 * expected_gradient, rtol=1e-10, atol=1e-14)


def test_a_memory_behind_the_batch_serves_as_gallery_and_asks_nothing():
    memory, memory_labels = unit_rows(6, 4, seed=3), [0, 1, 1, -1, 4, 2]
    labels = [0, 1, 2, -1, 2]
    gallery_labels, self_index = labels + memory_labels, torch.arange(5)

    def ours(x: Tensor) -> Tensor:
        gallery, y = torch.cat([x, memory]), torch.tensor(gallery_labels)
        return LiftedStructureLoss().sums(QueryBlock(x, y[:5], gallery, y, self_index)).mean()

    def theirs(x: Tensor) -> Tensor:
        rows = Rows(x, labels, torch.cat([x, memory]), gallery_labels, self_index.tolist())
        return oracles_pairs.lifted_structure(rows, 1.0)

    x = unit_rows(5, 4, seed=2)
    (value, gradient), (expected, expected_gradient) = value_and_gradient(ours, x), value_and_gradient(theirs, x)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("margin", [1.0, 0.3])
def test_it_is_that_of_pytorch_metric_learning(margin):
    x, y = unit_rows(36, 6, seed=4), torch.tensor([row % 7 + row % 2 for row in range(36)])
    peer = peers.LiftedStructureLoss(neg_margin=margin, pos_margin=0, distance=LpDistance(normalize_embeddings=False))
    expected, expected_gradient = value_and_gradient(lambda x: peer(x, y), x)
    value, gradient = value_and_gradient(lambda x: LiftedStructureLoss(margin)(x, y), x)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-7, atol=1e-10)


def test_a_case_worked_out_by_hand():
    # On a line: a pair at 0 and 1, a pair at 3 and 5.
    x = torch.tensor([[0.0], [1.0], [3.0], [5.0]], dtype=torch.float64)
    value = LiftedStructureLoss(2.0)(x, torch.tensor([0, 0, 1, 1]))
    push = math.exp(2 - 3) + math.exp(2 - 5) + math.exp(2 - 2) + math.exp(2 - 4)
    expected = ((1 + math.log(push)) ** 2 + (2 + math.log(push)) ** 2) / 2 / 2
    assert float(value) == pytest.approx(expected, rel=1e-12)


def test_a_pair_nearer_than_its_negatives_push_costs_nothing_and_is_counted():
    x = torch.tensor([[0.0], [0.1], [20.0], [29.0]], dtype=torch.float64)
    value = LiftedStructureLoss(1.0)(x, torch.tensor([0, 0, 1, 1]))
    push = math.exp(-19) + math.exp(-18.9) + math.exp(-28) + math.exp(-27.9)
    assert 9 + math.log(push) < 0
    assert float(value) == 0
    x[3] = 60.0
    push = math.exp(-19) + math.exp(-18.9) + math.exp(-59) + math.exp(-58.9)
    value = LiftedStructureLoss(1.0)(x, torch.tensor([0, 0, 1, 1]))
    assert float(value) == pytest.approx((40 + math.log(push)) ** 2 / 2 / 2, rel=1e-12)


@pytest.mark.parametrize("labels", [[], [0], [0, 0, 0], [0, 1, 2], [-1, -1, 0, 0]])
def test_without_a_positive_pair_or_without_negatives_value_and_gradient_are_0(labels):
    y = torch.tensor(labels, dtype=torch.int64)
    value, gradient = value_and_gradient(lambda x: LiftedStructureLoss()(x, y), torch.ones(len(labels), 3))
    assert float(value) == 0
    assert gradient.shape == (len(labels), 3)
    assert not gradient.any()


def test_collapsed_embeddings_give_the_closed_form_with_a_finite_gradient():
    x, y = normalize(torch.ones(12, 5)), torch.arange(4).repeat_interleave(3)
    value, gradient = value_and_gradient(lambda x: LiftedStructureLoss()(x, y), x)
    assert float(value) == pytest.approx((1 + math.log(18)) ** 2 / 2, rel=1e-3)
    assert gradient.isfinite().all()


def test_rows_without_a_label_change_nothing_and_neither_does_the_order():
    x, y = unit_rows(14, 4, seed=5), torch.tensor([row % 4 for row in range(10)] + [-1] * 4)
    order = torch.randperm(14, generator=torch.Generator().manual_seed(0))
    expected = LiftedStructureLoss()(x[:10], y[:10])
    torch.testing.assert_close(LiftedStructureLoss()(x, y), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(LiftedStructureLoss()(x[order], y[order]), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_coarser_vectors_are_computed_in_float32(dtype):
    x, labels = unit_rows(24, 16, seed=8).to(dtype), [row % 6 for row in range(24)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradient = value_and_gradient(lambda x: LiftedStructureLoss()(x, torch.tensor(labels)), x)
    expected, expected_gradient = value_and_gradient(
        lambda x: oracles_pairs.lifted_structure(Rows.of_batch(x, labels), 1.0), x.double()
    )
    assert (value.dtype, gradient.dtype) == (torch.float32, dtype)
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    tolerance = 1e-5 if dtype == torch.float32 else torch.finfo(dtype).eps
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=tolerance, atol=tolerance / 10)
