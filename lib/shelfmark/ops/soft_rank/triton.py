"""The soft-rank loss with similarity tiles that are computed inside Triton's kernels, and counted there.

Legend: Q queries, G gallery rows, D embedding, P the most positives of a query, B queries of a strip.

1. The similarities of the positives, (Q, P), in plain torch.
2. A kernel streams the gallery past each block of queries and counts the negatives ahead of each positive: (Q, P).
3. The penalties and their derivatives by those counts, in plain torch, for any `RankScore`.
4. A second kernel computes the tiles again and writes the derivatives by a strip of them, (B, G), which a matrix
   product turns into the gradient.

Where the queries are the gallery, similarities are symmetric: a tile's derivative then includes that of its mirror
image, and one product a strip suffices. Nothing depends on the order in which programs end. The memory is that of the
tables and of one strip, which grow with Q and G and not with their product.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from shelfmark.ops.soft_rank import chunked
from shelfmark.ops.soft_rank.groups import group_queries
from shelfmark.ops.soft_rank.one_pass import one_pass_total
from shelfmark.ops.soft_rank.pairs import Pairs
from shelfmark.ops.soft_rank.programs import Programs
from shelfmark.ops.soft_rank.ranking import Ranking

MOST_POSITIVES = 32
"""Queries that have more are left to `chunked`, so that the tables over positives stay narrow."""


def soft_rank_total(ranking: Ranking) -> tuple[Tensor, int]:
    """The result of `shelfmark.ops.soft_rank.soft_rank_total`, for float32."""
    num_queries, groups = group_queries(ranking)
    few = [group for group in groups if group.num_positives <= MOST_POSITIVES]
    pairs = Pairs.of(few, len(ranking.query), ranking.query.device)
    total = one_pass_total(ranking, _Engine(ranking.detached(), pairs))
    many = [group.rows for group in groups if group.num_positives > MOST_POSITIVES]
    if many:
        rest, _ = chunked.soft_rank_total(ranking.of_queries(torch.cat(many)))
        total = total + rest
    return total, num_queries


@dataclass(frozen=True)
class _Engine:
    ranking: Ranking
    pairs: Pairs

    def total(self, query_gradient: Tensor | None, gallery_gradient: Tensor | None) -> Tensor:
        """The sum of the penalties, 0-dim. Its gradients are added to the tensors; both may be the same tensor."""
        query, gallery = self.ranking.query, self.ranking.gallery
        if not self.pairs.columns.numel():
            return query.new_zeros(())
        positives = self.pairs.similarities(query, gallery)
        programs = Programs.of(self.ranking, self.pairs, positives)
        ahead, slopes = programs.ahead()
        scaled = positives / self.ranking.temperature
        penalties = self.pairs.penalties(self.ranking.score, scaled, ahead, slopes)
        if query_gradient is not None or gallery_gradient is not None:
            for rows, strip in programs.gradient_strips(penalties.by_ahead, penalties.by_positive):
                if query_gradient is not None:
                    query_gradient[rows].addmm_(strip, gallery)
                if gallery_gradient is not None and not self.ranking.one_batch:
                    gallery_gradient.addmm_(strip.T, query[rows])
        return penalties.of_query.sum()
