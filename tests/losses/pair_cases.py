"""Batches for the tests of pair losses, and the comparison with an oracle. Legend: N rows, D embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from hypothesis import strategies as st
from oracles_softmax import Batch
from torch import Tensor
from torch.nn.functional import normalize

from shelfmark.losses import QueryBlock, RetrievalLoss

LABELS = [0, 1, 2, 0, -1, 1, 0, 3, 2, 0, 1]
"""Classes of 4, 3, 2 and 1 rows, and a row without label."""

WORKED = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], dtype=torch.float64), torch.tensor([0, 0, 1])
"""Three rows for work by hand: the positives have similarity 0.6, the negatives 0 and 0.8."""


def unit_rows(num_rows: int, dim: int = 5, seed: int = 0) -> Tensor:
    """Random vectors of length 1: (N, D) float64."""
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(num_rows, dim, generator=generator, dtype=torch.float64))


def whole_batch(embedding: Tensor, labels: Sequence[int] | Tensor) -> Batch:
    """Every row a query, the batch its own gallery."""
    labels = torch.as_tensor(labels, dtype=torch.int64)
    return Batch(embedding, labels, embedding, labels, torch.arange(len(labels)))


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Some rows of a batch as queries; the batch, and perhaps rows of a memory, as the gallery. Some rows are equal."""
    labels = draw(st.lists(st.integers(-1, 2), min_size=5, max_size=12))
    memory_labels = draw(st.lists(st.integers(-1, 2), max_size=4))
    gallery = unit_rows(len(labels) + len(memory_labels), seed=draw(st.integers(0, 10**6)))
    if draw(st.booleans()):
        gallery[-1] = gallery[0]
    own = torch.arange(draw(st.integers(0, 2)), len(labels) - draw(st.integers(0, 2)))
    gallery_labels = torch.tensor(labels + memory_labels)
    return Batch(gallery[own], gallery_labels[own], gallery, gallery_labels, own)


def loss_of(loss: RetrievalLoss, batch: Batch) -> Tensor:
    return loss.sums(QueryBlock(*batch)).mean()


def value_and_gradient(loss: Callable[..., Tensor], embedding: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Of the batch alone."""
    x = embedding.detach().clone().requires_grad_()
    value = loss(x, labels)
    return value.detach(), torch.autograd.grad(value, x)[0]


def value_and_gradients(loss: Callable[[Batch], Tensor], batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Value, gradient by the queries, gradient by the gallery, as if they were different rows."""
    query, gallery = (rows.detach().clone().requires_grad_() for rows in (batch.query, batch.gallery))
    value = loss(batch._replace(query=query, gallery=gallery))
    return value.detach(), *torch.autograd.grad(value, (query, gallery))


def assert_equals_oracle(loss: RetrievalLoss, oracle: Callable[[Batch], Tensor], batch: Batch) -> None:
    ours = value_and_gradients(lambda some: loss_of(loss, some), batch)
    theirs = value_and_gradients(oracle, batch)
    for mine, expected in zip(ours, theirs):
        scale = 1 + float(expected.abs().max())
        torch.testing.assert_close(mine, expected, rtol=1e-10, atol=1e-11 * scale)


def assert_equals_peer(
    loss: RetrievalLoss, peer: Callable[..., Tensor], embedding: Tensor, labels: Tensor, rtol: float = 1e-9
) -> None:
    """In value and gradient on rows brought to length 1, as most peers do themselves."""
    ours = value_and_gradient(lambda x, y: loss(normalize(x), y), embedding, labels)
    theirs = value_and_gradient(lambda x, y: peer(normalize(x), y), embedding, labels)
    torch.testing.assert_close(ours[0], theirs[0], rtol=rtol, atol=0)
    torch.testing.assert_close(ours[1], theirs[1], rtol=rtol, atol=rtol * float(theirs[1].abs().max()))
