"""Losses that compare rows with each other, on one process or on many.

Legend: Q queries, G gallery rows, D embedding, L terms of a loss, Z numbers that a query brings besides its vector.

A query's part of such a loss needs the query and the gallery alone. So each process computes its own queries' parts
against everybody's rows, and the parts add up to the loss that one process with the whole batch would find.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from shelfmark.core import dist
from shelfmark.losses.loss import HeadOutput, Loss
from shelfmark.ops.labelled import LabelledRows, labelled_rows
from shelfmark.ops.similarity import require_comparable


@dataclass(frozen=True)
class QueryBlock:
    """Queries, and their gallery: the batch of all processes, then the rows of a memory if there is one.

    query: (Q, D), query_labels: (Q,), gallery: (G, D), gallery_labels: (G,); labels int64, -1 where there is none.
    self_index: (Q,) int64, each query's own row in the gallery, which is its row in the global batch too.
    step: of the optimizer; with a loss's seed and `self_index` it decides random draws.
    query_terms: (Q, Z), what a loss knows of its queries besides their vectors, with gradient; None for nothing.
    """

    query: Tensor
    query_labels: Tensor
    gallery: Tensor
    gallery_labels: Tensor
    self_index: Tensor
    step: int = 0
    query_terms: Tensor | None = None


class Sums(NamedTuple):
    """A loss in parts that add up over queries: the sum over its L terms of total / max(count, 1).

    totals: (L,), with gradient. counts: (L,), what each total is a sum over, without gradient.
    """

    totals: Tensor
    counts: Tensor

    def mean(self) -> Tensor:
        return (self.totals / self.counts.clamp_min(1)).sum()


class RetrievalLoss(Loss):
    """Base of the losses over queries and a gallery: a subclass says what its queries' parts are."""

    consumes: ClassVar[HeadOutput] = "vectors"

    def sums(self, block: QueryBlock) -> Sums:
        """The parts of these queries. They must not depend on which other queries are given."""
        raise NotImplementedError

    def __call__(self, embedding: Tensor, labels: Tensor, step: int = 0, query_terms: Tensor | None = None) -> Tensor:
        """The loss of this batch alone, 0-dim.

        embedding: (N, D), L2-normalised by the caller. labels: (N,) whole numbers, -1 where there is none. query_terms:
        (N, Z), for a loss that wants them, see `QueryBlock`.
        UserError: a row with a label that is not finite.
        """
        return self._alone(_checked(embedding, labels, raises=True), step, query_terms)

    def over_ranks(
        self,
        embedding: Tensor,
        labels: Tensor,
        step: int = 0,
        memory: tuple[Tensor, Tensor] | None = None,
        query_terms: Tensor | None = None,
    ) -> Tensor:
        """The loss of the batch of all processes, 0-dim, the same on each; embedding and labels are this one's part.

        Its gradient keeps the rule of `shelfmark.core.dist`. Where a row with a label is not finite, on any process,
        the loss is NaN on each.
        memory: (S, D) vectors and (S,) labels of earlier steps, the same on every process, for the gallery's end.
        """
        batch = _checked(embedding, labels, raises=False)
        if dist.world_size() == 1 and memory is None:
            return self._alone(batch, step, query_terms)
        # Rows that are not finite take no part from here on: the other processes' work with them goes on unharmed.
        gallery, first_row = dist.gather_keys(batch.rows)
        gallery_labels = dist.gather_rows(batch.labels)
        soundness = batch.soundness
        if memory is not None:
            earlier = labelled_rows(*memory, "memory", raises=False)
            gallery = torch.cat([gallery, earlier.rows.to(gallery.dtype)])
            gallery_labels = torch.cat([gallery_labels, earlier.labels])
            soundness = soundness * earlier.soundness.to(soundness)
        self_index = first_row + torch.arange(len(labels), device=labels.device)
        sums = self.sums(QueryBlock(batch.rows, batch.labels, gallery, gallery_labels, self_index, step, query_terms))
        counts = dist.sum_over_ranks(sums.counts)
        return dist.sum_of_parts(Sums(sums.totals, counts).mean() * soundness)

    def _alone(self, batch: LabelledRows, step: int, query_terms: Tensor | None) -> Tensor:
        """The loss of this batch alone, for vectors that are checked."""
        rows = torch.arange(len(batch.labels), device=batch.labels.device)
        whole = QueryBlock(batch.rows, batch.labels, batch.rows, batch.labels, rows, step, query_terms)
        return self.sums(whole).mean() * batch.soundness


def _checked(embedding: Tensor, labels: Tensor, raises: bool) -> LabelledRows:
    require_comparable(embedding, labels, embedding, labels)
    return labelled_rows(embedding, labels, "embedding", raises=raises)
