"""What a soft-rank loss is of. Legend: Q queries, G gallery rows, D embedding."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from torch import Tensor

from shelfmark.ops.soft_rank.score import RankScore


@dataclass(frozen=True)
class Ranking:
    """A gallery that queries rank by similarity, and what the places of their positives cost.

    query: (Q, D), gallery: (G, D), compared as they are, without normalisation. Where the queries are the gallery,
    both are the same tensor.
    query_labels: (Q,), gallery_labels: (G,), integers; -1 where a row has no label.
    self_index: (Q,) int64, each query's own row in the gallery, -1 where the query is not in the gallery.
    score: the penalty of a positive's place. A negative j stands before a positive i by
    sg((s_qj - s_qi) / temperature), where s is the dot product and sg the logistic step, constant beyond 50.
    include_self: whether a query is its own positive, or left out of its ranking.
    """

    query: Tensor
    query_labels: Tensor
    gallery: Tensor
    gallery_labels: Tensor
    self_index: Tensor
    score: RankScore
    temperature: float
    include_self: bool = False

    @property
    def one_batch(self) -> bool:
        """Whether the queries are the gallery."""
        return self.gallery is self.query

    def with_vectors(self, query: Tensor, gallery: Tensor) -> Ranking:
        """The same ranking of other vectors, or of the same ones with another dtype or without a graph."""
        return dataclasses.replace(self, query=query, gallery=gallery)

    def of_queries(self, rows: Tensor) -> Ranking:
        """The ranking of some queries, by row number or mask, over the whole gallery."""
        return dataclasses.replace(
            self,
            query=self.query[rows],
            query_labels=self.query_labels[rows],
            self_index=self.self_index[rows],
        )

    def detached(self) -> Ranking:
        """The same numbers without a graph; the queries are still the gallery where they were."""
        query = self.query.detach()
        return self.with_vectors(query, query if self.one_batch else self.gallery.detach())
