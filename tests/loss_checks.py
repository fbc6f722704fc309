"""What tests of losses share: batches, values with their gradients, comparisons with oracles and peers.

Legend: N rows, D embedding, C classes, Q queries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from oracles_longtail import mean_over_rows
from oracles_pairs import Rows
from oracles_softmax import Batch
from torch import Tensor
from torch.nn.functional import normalize

from shelfmark.losses import ClassificationLoss, QueryBlock, RetrievalLoss

LABELS = [0, 1, 2, 0, -1, 1, 0, 3, 2, 0, 1]
"""Classes of 4, 3, 2 and 1 rows, and a row without label."""
WORKED = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], dtype=torch.float64), torch.tensor([0, 0, 1])
"""Three rows for work by hand: the positives have similarity 0.6, the negatives 0 and 0.8."""
COUNTS = [100, 50, 20, 10, 5, 2]
"""Training images of six classes."""
WEIGHTS = st.sampled_from([None, torch.tensor([1.0, 2.0, 0.5, 3.0, 0.25, 4.0])])
"""Weights of six classes, or none."""
SEEDS = st.integers(0, 10**6)
ROW_LABELS = st.lists(st.integers(-1, 5), min_size=1, max_size=6)
"""Labels of six classes, or none."""

Found = tuple[Tensor, Tensor]
"""A value and a gradient."""


def unit_rows(num_rows: int, dim: int = 5, seed: int = 0) -> Tensor:
    """Random vectors of length 1: (N, D) float64."""
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(num_rows, dim, generator=generator, dtype=torch.float64))


def lattice_rows(num_rows: int, dim: int = 5, seed: int = 0) -> Tensor:
    """Rows of small whole numbers, which tie often and exactly: (N, D) float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, 2, (num_rows, dim), generator=generator).double()


def random_logits(num_rows: int, num_classes: int = 6, seed: int = 0) -> Tensor:
    """(N, C) float64, some of them sure."""
    return 3 * torch.randn(num_rows, num_classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_cosines(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Between -0.99 and 0.99."""
    return 1.98 * torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) - 0.99


def value_and_gradient(loss: Callable[..., Tensor], x: Tensor, *rest: Any, **options: Any) -> Found:
    """Of loss(x, *rest): the value, and its gradient by x."""
    x = x.detach().clone().requires_grad_()
    value = loss(x, *rest, **options)
    return value.detach(), torch.autograd.grad(value, x)[0]


def assert_same(found: Sequence[Tensor], expected: Sequence[Any], rtol: float = 1e-10, atol: float = 1e-12) -> None:
    """The same value and gradients; `atol` is relative to the largest number of each, and absolute below 1."""
    for mine, theirs in zip(found, expected, strict=True):
        theirs = torch.as_tensor(np.asarray(theirs) if not isinstance(theirs, Tensor) else theirs, dtype=mine.dtype)
        scale = 1 + float(theirs.abs().max()) if theirs.numel() else 1
        torch.testing.assert_close(mine, theirs, rtol=rtol, atol=atol * scale)


def assert_alike(one: Callable[..., Tensor], other: Callable[..., Tensor], x: Tensor, *rest: Any) -> None:
    """Two losses in value and gradient."""
    assert_same(value_and_gradient(one, x, *rest), value_and_gradient(other, x, *rest))


def assert_equals_loops(
    loss: ClassificationLoss, row_loss: Callable[..., complex], labels: list[int], logits: Tensor
) -> None:
    """The loss and its gradient against the plain formula of one row, (logits of the row, label)."""
    weight = None if loss.weight is None else loss.weight.tolist()
    expected = mean_over_rows(row_loss, logits.numpy(), labels, weight)
    assert_same(value_and_gradient(loss, logits, torch.tensor(labels)), expected, rtol=1e-8)


def whole_batch(embedding: Tensor, labels: Sequence[int] | Tensor) -> Batch:
    """Every row a query, the batch its own gallery."""
    labels = torch.as_tensor(labels, dtype=torch.int64)
    return Batch(embedding, labels, embedding, labels, torch.arange(len(labels)))


@st.composite
def batches(draw: st.DrawFn, exact: bool = False) -> Batch:
    """Some rows of a batch as queries, in either order; the batch, and perhaps rows of a memory, as the gallery.

    Some rows are equal; exact: only where their similarities are exactly so too.
    """
    labels = draw(st.lists(st.integers(-1, 2), min_size=4, max_size=9))
    memory_labels = draw(st.lists(st.integers(-1, 2), max_size=3))
    make = draw(st.sampled_from([unit_rows, lattice_rows])) if exact else unit_rows
    gallery = make(len(labels) + len(memory_labels), seed=draw(SEEDS))
    if not exact and draw(st.booleans()):
        gallery[-1] = gallery[0]
    own = torch.arange(draw(st.integers(0, 2)), len(labels) - draw(st.integers(0, 2)))
    own = own.flip(0) if draw(st.booleans()) else own
    gallery_labels = torch.tensor(labels + memory_labels)
    return Batch(gallery[own], gallery_labels[own], gallery, gallery_labels, own)


def rows_of(batch: Batch) -> Rows:
    """The batch as the oracles of contrastive, triplet and lifted structured losses take it."""
    labels, gallery_labels = batch.query_labels.tolist(), batch.gallery_labels.tolist()
    return Rows(batch.query, labels, batch.gallery, gallery_labels, batch.self_index.tolist())


def loss_of(loss: RetrievalLoss, batch: Batch, step: int = 0) -> Tensor:
    return loss.sums(QueryBlock(*batch, step=step)).mean()


def value_and_gradients(loss: Callable[[Batch], Tensor], batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Value, gradient by the queries, gradient by the gallery, as if they were different rows."""
    query, gallery = (rows.detach().clone().requires_grad_() for rows in (batch.query, batch.gallery))
    value = loss(batch._replace(query=query, gallery=gallery))
    gradients = torch.autograd.grad(value, (query, gallery), materialize_grads=True, allow_unused=True)
    return value.detach(), *gradients


def assert_equals_oracle(
    loss: RetrievalLoss, oracle: Callable[[Batch], Tensor], batch: Batch, step: int = 0, rtol: float = 1e-10
) -> None:
    found = value_and_gradients(lambda some: loss_of(loss, some, step), batch)
    assert_same(found, value_and_gradients(oracle, batch), rtol=rtol, atol=1e-11)


def assert_equals_peer(
    loss: Callable[..., Tensor], peer: Callable[..., Tensor], embedding: Tensor, labels: Tensor, rtol: float = 1e-9
) -> None:
    """In value and gradient on rows brought to length 1, as most peers do themselves."""
    ours = value_and_gradient(lambda x, y: loss(normalize(x), y), embedding, labels)
    theirs = value_and_gradient(lambda x, y: peer(normalize(x), y), embedding, labels)
    torch.testing.assert_close(ours[0], theirs[0], rtol=rtol, atol=0)
    torch.testing.assert_close(ours[1], theirs[1], rtol=rtol, atol=rtol * float(theirs[1].abs().max()))
