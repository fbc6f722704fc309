"""What every pair loss stands on: the masks, the distances, the blocks, the sums over processes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.losses import QueryBlock, Sums, pairs
from shelfmark.losses.pairs import PairLoss, Pairs


@dataclass(frozen=True)
class Spread(PairLoss):
    """The mean squared distance of positives less the mean similarity of negatives, cubed: two uneven terms."""

    def pair_sums(self, pairs: Pairs) -> Sums:
        positive, negative = pairs.positive, pairs.negative
        far = torch.where(positive, pairs.squared_distance, 0).sum()
        near = torch.where(negative, pairs.similarity**3, 0).sum()
        return Sums(torch.stack([far, near]), torch.stack([positive.sum(), negative.sum()]))


def batch(labels: list[int], seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(labels), 5, generator=generator, dtype=dtype).requires_grad_(), torch.tensor(labels)


def spread_by_loops(x: Tensor, labels: list[int]) -> Tensor:
    far, near = [], []
    for i, own in enumerate(labels):
        for j, other in enumerate(labels):
            if i != j and own == other != -1:
                far.append((x[i] - x[j]).square().sum())
            if -1 not in (own, other) and own != other:
                near.append((x[i] @ x[j]) ** 3)
    zero = x.sum() * 0
    return sum(far, zero) / max(1, len(far)) + sum(near, zero) / max(1, len(near))


LABELS = [[0, 0, 1, 1], [2, -1, 2, 2, 0, -1, 1, 0], [5], [3, 3, 3], [0, 1, 2], [-1, -1]]


@pytest.mark.parametrize("rows_per_block", [1, 3, 1000])
@pytest.mark.parametrize("labels", LABELS)
def test_a_loss_over_pairs_equals_its_loops_however_it_is_cut_into_blocks(labels, rows_per_block, monkeypatch):
    x, y = batch(labels)
    monkeypatch.setattr(pairs, "_BLOCK_BYTES", {"cpu": rows_per_block * len(labels) * 8})
    value = Spread()(x, y)
    expected = spread_by_loops(x, labels)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    (ours,), (theirs,) = torch.autograd.grad(2 * value, x), torch.autograd.grad(2 * expected, x)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_the_parts_of_some_queries_add_up_to_the_loss_of_all():
    x, labels = batch([0, 1, 0, 1, 2, 2, 0, -1])
    rows = torch.arange(8)
    parts = [
        Spread().sums(QueryBlock(x[part], labels[part], x, labels, rows[part]))
        for part in (slice(0, 3), slice(3, 4), slice(4, 8))
    ]
    together = Sums(sum(part.totals for part in parts), sum(part.counts for part in parts)).mean()
    torch.testing.assert_close(together, Spread()(x, labels), rtol=1e-12, atol=0)


def test_a_memory_lengthens_the_gallery_and_asks_nothing():
    x, labels = batch([0, 1, 0, 1])
    earlier, earlier_labels = batch([0, 1, 1, -1, 4], seed=1)
    ours = Spread().over_ranks(x, labels, memory=(earlier.detach(), earlier_labels))
    far, near = [], []
    for i in range(4):
        for j in [j for j in range(9) if j != i]:
            row = x[j] if j < 4 else earlier[j - 4].detach()
            other = [*labels.tolist(), *earlier_labels.tolist()][j]
            if other == int(labels[i]):
                far.append((x[i] - row).square().sum())
            elif other != -1:
                near.append((x[i] @ row) ** 3)
    expected = sum(far) / len(far) + sum(near) / len(near)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=0)
    (gradient,), (expected_gradient,) = torch.autograd.grad(ours, x), torch.autograd.grad(expected, x)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-10, atol=1e-12)


def test_equal_rows_lie_at_the_smallest_distance_with_a_finite_gradient():
    x = torch.ones(3, 4, dtype=torch.float64, requires_grad=True)
    rows, labels = torch.arange(3), torch.zeros(3, dtype=torch.int64)
    block = Pairs(x, labels, x, labels, rows, 0)
    assert block.distance.tolist() == [[pytest.approx(1e-6)] * 3] * 3
    (gradient,) = torch.autograd.grad(block.distance.sum(), x)
    assert gradient.isfinite().all()


def test_half_precision_is_computed_in_float32_under_autocast_too():
    x, labels = batch([0, 0, 1, 1], dtype=torch.float32)
    half = x.detach().to(torch.bfloat16).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = Spread()(half, labels)
    value.backward()
    assert value.dtype == torch.float32
    assert half.grad.dtype == torch.bfloat16
    expected = spread_by_loops(half.detach().double(), labels.tolist())
    assert float(value.detach()) == pytest.approx(float(expected), rel=1e-6)


def test_vectors_that_are_not_finite_are_refused_with_their_rows():
    x, labels = batch([0, 0, 1, 1])
    broken = x.detach().clone()
    broken[2, 1] = math.nan
    with pytest.raises(UserError, match=r"not finite in rows 2 of 4.*optim.lr"):
        Spread()(broken, labels)


def test_shapes_that_do_not_fit_are_refused():
    x, labels = batch([0, 0, 1, 1])
    with pytest.raises(ValueError, match=r"labels must be 4 whole numbers"):
        Spread()(x, labels[:3])
    with pytest.raises(ValueError, match=r"embedding must be \(rows, dimensions\) of floats"):
        Spread()(labels[:, None], labels)


def test_a_second_derivative_over_blocks_is_refused(monkeypatch):
    x, labels = batch([0, 0, 1, 1])
    monkeypatch.setattr(pairs, "_BLOCK_BYTES", {"cpu": 1})
    with pytest.raises(NotImplementedError, match="no second derivative"):
        torch.autograd.grad(Spread()(x, labels), x, create_graph=True)
