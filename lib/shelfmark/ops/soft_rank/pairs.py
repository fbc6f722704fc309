"""Tables over the pairs of a query and its positives.

Legend: Q queries, G gallery rows, D embedding, P the most positives of a query, B queries of a part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from shelfmark.ops.soft_rank.groups import QueryGroup
from shelfmark.ops.soft_rank.score import RankScore
from shelfmark.ops.soft_rank.steps import SoftSteps

_PART_ELEMENTS = 2**24


class Penalties(NamedTuple):
    """What the queries pay, and for what.

    of_query: (Q,) mean penalties of the positives. by_ahead, by_positive: (Q, P), the derivatives of their sum by each
    positive's number of negatives ahead, and by its similarity over temperature, all its effects together.
    """

    of_query: Tensor
    by_ahead: Tensor
    by_positive: Tensor


@dataclass(frozen=True)
class Pairs:
    """Which gallery rows are the positives of each query, in a table as wide as the most of them.

    columns: (Q, P) int64, -1 in the places that a query does not use. num_positives: (Q,) int64, 0 for a query that is
    left out.
    """

    columns: Tensor
    num_positives: Tensor

    @classmethod
    def of(cls, groups: list[QueryGroup], num_queries: int, device: torch.device) -> Pairs:
        """The pairs of all groups, among `num_queries` rows of queries."""
        most = max((group.num_positives for group in groups), default=0)
        columns = torch.full((num_queries, most), -1, dtype=torch.int64, device=device)
        num_positives = torch.zeros(num_queries, dtype=torch.int64, device=device)
        for group in groups:
            columns[group.rows, : group.num_positives] = group.columns()
            num_positives[group.rows] = group.num_positives
        return cls(columns, num_positives)

    def similarities(self, query: Tensor, gallery: Tensor) -> Tensor:
        """(Q, P) dot products of (Q, D) and (G, D). In unused places the values mean nothing."""
        similarities = query.new_empty(self.columns.shape)
        for part in self._parts(query.shape[1]):
            positives = gallery[self.columns[part].clamp_min(0)]
            similarities[part] = positives.mul_(query[part, None]).sum(2)
        return similarities

    def penalties(self, score: RankScore, scaled: Tensor, ahead: Tensor, ahead_slopes: Tensor) -> Penalties:
        """The penalties of the positives' places.

        scaled: (Q, P) similarities over temperature. ahead, ahead_slopes: (Q, P) sums over negatives of their steps
        and of the steps' slopes.
        """
        of_query, by_ahead, by_positive = ahead.new_zeros(len(ahead)), torch.zeros_like(ahead), torch.zeros_like(ahead)
        num_competitors = self.columns.shape[1] if score.uses_rank else 1
        for part in self._parts(num_competitors):
            is_used, num_positives = self.columns[part] >= 0, self.num_positives[part, None].clamp_min(1)
            rank, rank_slope = self._ranks(score, scaled[part], is_used)
            value = score.value(ahead[part], rank, num_positives)
            of_query[part] = torch.where(is_used, value / num_positives, 0).sum(1)
            slopes = score.slopes(ahead[part], rank, num_positives)
            by_count, by_rank = (torch.where(is_used, slope / num_positives, 0) for slope in slopes)
            by_ahead[part] = by_count
            by_positive[part] = -by_count * ahead_slopes[part]
            if rank_slope is not None:
                # What a competitor's rise does to a candidate, the candidate's own undoes.
                by_pair = by_rank[:, :, None] * rank_slope
                by_positive[part] += by_pair.sum(1) - by_pair.sum(2)
        return Penalties(of_query, by_ahead, by_positive)

    def _ranks(self, score: RankScore, scaled: Tensor, is_used: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, P) soft ranks among the positives, and (B, P, P) the slopes of candidate and competitor."""
        if not score.uses_rank:
            return torch.ones_like(scaled), None
        is_other = ~torch.eye(scaled.shape[1], dtype=torch.bool, device=scaled.device)
        steps = SoftSteps(scaled.numel() * scaled.shape[1], scaled, with_slope=True)
        step, slope = steps(scaled, scaled, (is_other & is_used[:, None, :]).to(scaled.dtype))
        return 1 + step.sum(2), slope

    def _parts(self, elements_a_pair: int) -> Iterator[slice]:
        """Slices of the queries, so short that a tensor with `elements_a_pair` elements a pair stays small."""
        num_queries, num_places = self.columns.shape
        num_rows = max(1, _PART_ELEMENTS // max(1, num_places * elements_a_pair))
        for first in range(0, num_queries, num_rows):
            yield slice(first, first + num_rows)
