"""The soft-rank loss with similarity tiles that are computed inside Triton's kernels, and counted there.

Legend: Q queries, M gallery rows, D embedding, P the most positives of a query, c queries of a strip.

1. The similarities of the positives, (Q, P), in plain torch.
2. A kernel streams the gallery past each block of queries and counts the negatives ahead of each positive: (Q, P).
3. The penalties and their derivatives by those counts, in plain torch: any `RankScore` will do.
4. A second kernel computes the tiles again and writes the derivatives by a strip of them, (c, M), which a matrix
   product turns into the gradient.

Where the queries are the gallery, similarities are symmetric: a tile's derivative then includes that of its mirror
image, and one product a strip suffices. Nothing depends on the order in which programs end. The memory is that of the
tables and of one strip, which grow with Q and M and not with their product.
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
from shelfmark.ops.soft_rank.score import RankScore

MOST_POSITIVES = 32
"""Queries that have more are left to the chunked twin, so that the tables over positives stay narrow."""


def soft_rank_total(
    query: Tensor,
    query_labels: Tensor,
    gallery: Tensor,
    gallery_labels: Tensor,
    self_index: Tensor,
    *,
    score: RankScore,
    temperature: float,
    include_self: bool,
) -> tuple[Tensor, int]:
    """The result of `shelfmark.ops.soft_rank.soft_rank_total`, for float32 inputs that it has checked."""
    num_queries, groups = group_queries(query_labels, gallery_labels, self_index, include_self, score.needs_negatives)
    few = [group for group in groups if group.num_positives <= MOST_POSITIVES]
    engine = _Engine(
        query=query.detach(),
        query_labels=query_labels,
        gallery=gallery.detach(),
        gallery_labels=gallery_labels,
        pairs=Pairs.of(few, len(query), query.device),
        one_batch=gallery is query,
        score=score,
        temperature=temperature,
    )
    total = one_pass_total(query, gallery, engine)
    many = [group.rows for group in groups if group.num_positives > MOST_POSITIVES]
    if many:
        rows = torch.cat(many)
        rest, _ = chunked.soft_rank_total(
            query[rows],
            query_labels[rows],
            gallery,
            gallery_labels,
            self_index[rows],
            score=score,
            temperature=temperature,
            include_self=include_self,
        )
        total = total + rest
    return total, num_queries


@dataclass(frozen=True)
class _Engine:
    """query: (Q, D), gallery: (M, D), the same rows where `one_batch`. query_labels, gallery_labels: (Q,), (M,)."""

    query: Tensor
    query_labels: Tensor
    gallery: Tensor
    gallery_labels: Tensor
    pairs: Pairs
    one_batch: bool
    score: RankScore
    temperature: float

    def total(self, query_gradient: Tensor | None, gallery_gradient: Tensor | None) -> Tensor:
        """The sum of the penalties, 0-dim. Its gradients are added to the tensors, which may be one and the same."""
        if not self.pairs.columns.numel():
            return self.query.new_zeros(())
        positives = self.pairs.similarities(self.query, self.gallery)
        programs = Programs.of(
            self.query,
            self.query_labels,
            self.gallery,
            self.gallery_labels,
            pairs=self.pairs,
            positives=positives,
            one_batch=self.one_batch,
            temperature=self.temperature,
        )
        ahead, slopes = programs.ahead()
        penalties = self.pairs.penalties(self.score, positives / self.temperature, ahead, slopes)
        if query_gradient is not None or gallery_gradient is not None:
            for rows, strip in programs.gradient_strips(penalties.by_ahead, penalties.by_positive):
                if query_gradient is not None:
                    query_gradient[rows].addmm_(strip, self.gallery)
                if gallery_gradient is not None and not self.one_batch:
                    gallery_gradient.addmm_(strip.T, self.query[rows])
        return penalties.of_query.sum()
