"""Which gallery rows are a query's positives. Legend: Q queries, G gallery rows, n queries of a group, P positives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from shelfmark.ops.soft_rank.ranking import Ranking


@dataclass(frozen=True)
class QueryGroup:
    """Queries that have equally many positives, so that a tensor over their pairs needs no padding.

    rows: (n,) rows of the query tensor. order: (G,) the gallery's rows, sorted by label. begin: (n,) where in
    `order` the query's class begins. gap: (n,) the place in the class that is left out because it is the query
    itself; the class's length where nothing is left out.
    """

    rows: Tensor
    num_positives: int
    order: Tensor
    begin: Tensor
    gap: Tensor

    def blocks(self, num_rows: int) -> Iterator[QueryGroup]:
        """The group in parts of at most `num_rows` queries."""
        for rows, begin, gap in zip(self.rows.split(num_rows), self.begin.split(num_rows), self.gap.split(num_rows)):
            yield QueryGroup(rows, self.num_positives, self.order, begin, gap)

    def columns(self) -> Tensor:
        """The gallery rows of each query's positives: (n, P) int64."""
        place = torch.arange(self.num_positives, device=self.rows.device)
        return self.order[self.begin[:, None] + place + (place >= self.gap[:, None])]


def group_queries(ranking: Ranking) -> tuple[int, list[QueryGroup]]:
    """How many queries have a positive, and which queries these are, grouped by number of positives.

    A query without a negative is counted; it is in no group where the score needs negatives.
    """
    sorted_labels, order = ranking.gallery_labels.sort(stable=True)
    begin = torch.searchsorted(sorted_labels, ranking.query_labels)
    num_same = torch.searchsorted(sorted_labels, ranking.query_labels, right=True) - begin
    num_positives, gap = num_same, num_same
    if not ranking.include_self and len(order):
        in_gallery = ranking.self_index >= 0
        place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        num_positives = num_same - in_gallery.long()
        gap = torch.where(in_gallery, place[ranking.self_index.clamp_min(0)] - begin, num_same)
    ranked = num_positives > 0
    num_queries = int(ranked.sum())
    if ranking.score.needs_negatives:
        ranked &= num_same < len(order)
    groups = []
    for size in num_positives[ranked].unique().tolist():
        rows = (ranked & (num_positives == size)).nonzero()[:, 0]
        groups.append(QueryGroup(rows, size, order, begin[rows], gap[rows]))
    return num_queries, groups
