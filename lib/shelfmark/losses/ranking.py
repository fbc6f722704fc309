"""Base of the losses on smoothed ranks. Legend: N batch, D embedding."""

from __future__ import annotations

from shelfmark.losses.retrieval import QueryBlock, RetrievalLoss, Sums
from shelfmark.ops.soft_rank import Ranking, RankScore, soft_rank_total


class RankingLoss(RetrievalLoss):
    """The mean over the queries that have a positive of the mean penalty of their positives' places."""

    temperature: float
    include_self: bool

    @property
    def score(self) -> RankScore:
        """The penalty of a place."""
        raise NotImplementedError

    def sums(self, block: QueryBlock) -> Sums:
        ranking = Ranking(
            block.query,
            block.query_labels,
            block.gallery,
            block.gallery_labels,
            block.self_index,
            score=self.score,
            temperature=self.temperature,
            include_self=self.include_self,
        )
        total, num_queries = soft_rank_total(ranking)
        return Sums(total[None], total.new_full((1,), num_queries))
