"""Losses over pairs (query, gallery row), a block of queries at a time.

Legend: Q queries, G gallery rows, D embedding, B queries of a block, L terms of a loss, Z numbers that a query brings
besides its vector.

The tensors over pairs are (B, G) and never (Q, G) once that is large: the blocks are computed once for the value and
again, with gradient, in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from shelfmark.core.contracts import UNLABELLED
from shelfmark.losses.retrieval import QueryBlock, RetrievalLoss, Sums
from shelfmark.ops.similarity import compute_dtype, dot_products, require_comparable

_SMALLEST_SQUARED_DISTANCE = 1e-12


@dataclass(frozen=True)
class Pairs:
    """A block of queries and the whole gallery.

    query: (B, D). gallery: (G, D). query_labels: (B,), gallery_labels: (G,). self_index: (B,) int64, each query's row
    in the global batch, which is its row in the gallery. step: of the optimizer. query_terms: (B, Z), what the queries
    bring besides their vectors, for a loss that was given some. include_self: a query is a positive of its own.
    """

    query: Tensor
    query_labels: Tensor
    gallery: Tensor
    gallery_labels: Tensor
    self_index: Tensor
    step: int
    query_terms: Tensor | None = None
    include_self: bool = False

    @cached_property
    def positive(self) -> Tensor:
        """Whether a gallery row has the query's label and, without include_self, is not the query: (B, G) bool."""
        same = (self.query_labels[:, None] == self.gallery_labels) & self._is_labelled
        return same if self.include_self else same & ~self.itself

    @cached_property
    def itself(self) -> Tensor:
        """Whether a gallery row is the query: (B, G) bool."""
        columns = torch.arange(len(self.gallery_labels), device=self.gallery_labels.device)
        return columns == self.self_index[:, None]

    @cached_property
    def negative(self) -> Tensor:
        """Whether a gallery row has another label than the query: (B, G) bool."""
        different = self.query_labels[:, None] != self.gallery_labels
        return different & self._is_labelled & (self.gallery_labels != UNLABELLED)

    @cached_property
    def similarity(self) -> Tensor:
        """Dot products in full precision: (B, G)."""
        return dot_products(self.query, self.gallery)

    @cached_property
    def squared_distance(self) -> Tensor:
        """Squared Euclidean distances, at least 1e-12: (B, G)."""
        lengths = self.query.square().sum(1)[:, None] + self.gallery.square().sum(1)
        return (lengths - 2 * self.similarity).clamp_min(_SMALLEST_SQUARED_DISTANCE)

    @cached_property
    def distance(self) -> Tensor:
        """Euclidean distances, at least 1e-6: (B, G)."""
        return self.squared_distance.sqrt()

    @property
    def _is_labelled(self) -> Tensor:
        return (self.query_labels != UNLABELLED)[:, None]


class PairLoss(RetrievalLoss):
    """Base of the losses whose parts follow from a block of pairs."""

    def pair_sums(self, pairs: Pairs) -> Sums:
        """The parts of one block's queries, by plain autograd."""
        raise NotImplementedError

    def sums(self, whole: QueryBlock) -> Sums:
        """float64 stays float64; anything else is computed in float32, whatever autocast says.

        The vectors are finite, which `RetrievalLoss` sees to. ValueError: shapes that do not fit.
        """
        require_comparable(whole.query, whole.query_labels, whole.gallery, whole.gallery_labels)
        dtype = compute_dtype(whole.query)
        query = whole.query.to(dtype)
        gallery = query if whole.gallery is whole.query else whole.gallery.to(dtype)
        terms = query.new_empty(len(query), 0) if whole.query_terms is None else whole.query_terms.to(dtype)
        with torch.autocast(query.device.type, enabled=False):
            return _blocked_sums(self.pair_sums, query, gallery, terms, whole)


_BLOCK_BYTES = {"cpu": 2**25, "cuda": 2**28}
"""Bytes of one (B, G) tensor; a loss holds some ten of them."""


def _blocked_sums(
    pair_sums: Callable[[Pairs], Sums], query: Tensor, gallery: Tensor, terms: Tensor, whole: QueryBlock
) -> Sums:
    block_bytes = _BLOCK_BYTES.get(query.device.type, _BLOCK_BYTES["cpu"])
    num_rows = max(1, block_bytes // max(1, len(gallery) * query.element_size()))
    blocks = _Blocks(whole, num_rows)
    if len(query) <= num_rows:
        return pair_sums(blocks.pairs(query, gallery, terms, slice(None)))
    return Sums(*_BlockedSums.apply(query, gallery, terms, pair_sums, blocks))


@dataclass(frozen=True)
class _Blocks:
    whole: QueryBlock
    num_rows: int

    def __iter__(self) -> Iterator[slice]:
        for first in range(0, len(self.whole.query), self.num_rows):
            yield slice(first, first + self.num_rows)

    def pairs(self, query: Tensor, gallery: Tensor, terms: Tensor, rows: slice) -> Pairs:
        """`query` and `terms`: those of the block alone."""
        whole = self.whole
        labels, own = whole.query_labels[rows], whole.self_index[rows]
        return Pairs(query, labels, gallery, whole.gallery_labels, own, whole.step, terms)


class _BlockedSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, gallery: Tensor, terms: Tensor, pair_sums: Callable[[Pairs], Sums], blocks: _Blocks
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(query, gallery, terms)
        ctx.pair_sums, ctx.blocks = pair_sums, blocks
        parts = [pair_sums(blocks.pairs(query[rows], gallery, terms[rows], rows)) for rows in blocks]
        totals = torch.stack([part.totals for part in parts]).sum(0)
        counts = torch.stack([part.counts for part in parts]).sum(0)
        ctx.mark_non_differentiable(counts)
        return totals, counts

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        if torch.is_grad_enabled():
            raise NotImplementedError("a loss over pairs has no second derivative once its batch is cut into blocks")
        query, gallery, terms = ctx.saved_tensors
        query_gradient, terms_gradient = torch.empty_like(query), torch.empty_like(terms)
        gallery_gradient = torch.zeros_like(gallery)
        keys = gallery.detach().requires_grad_()
        for rows in ctx.blocks:
            block, known = query[rows].detach().requires_grad_(), terms[rows].detach().requires_grad_()
            with torch.enable_grad(), torch.autocast(query.device.type, enabled=False):
                totals = ctx.pair_sums(ctx.blocks.pairs(block, keys, known, rows)).totals
            by_block, by_keys, by_known = torch.autograd.grad(
                totals, (block, keys, known), upstream[0], materialize_grads=True
            )
            query_gradient[rows], terms_gradient[rows] = by_block, by_known
            gallery_gradient += by_keys
        return query_gradient, gallery_gradient, terms_gradient, None, None
