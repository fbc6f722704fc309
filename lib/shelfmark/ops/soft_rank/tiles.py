"""The pairs (query, positive) of one block of similarity rows, some at a time.

Legend: G gallery rows, P positives a query, B queries of a block, p positives of a tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from shelfmark.ops.soft_rank.score import RankScore
from shelfmark.ops.soft_rank.steps import SoftSteps


@dataclass(frozen=True)
class Block:
    """Queries that have equally many positives.

    scaled: (B, G) similarities over temperature. positives: (B, P), the columns of the positives. Both may be float64
    where the rest is float32: only their differences are small. is_negative: (B, 1, G), 1 or 0.
    gradient, positive_gradient: the loss's derivatives by `scaled` and `positives`, which grow tile by tile; None where
    no gradient is wanted.
    """

    scaled: Tensor
    positives: Tensor
    is_negative: Tensor
    gradient: Tensor | None
    positive_gradient: Tensor | None


class Tiles:
    """Penalties and gradients of blocks that have the same P and G, in working memory that they share."""

    def __init__(self, score: RankScore, largest: Block, tile_bytes: int) -> None:
        """largest: the block with the most queries."""
        num_queries, num_gallery = largest.scaled.shape
        num_positives = largest.positives.shape[1]
        num_pairs = max(1, tile_bytes // (num_gallery * largest.is_negative.element_size()))
        self._score = score
        self._num_queries = min(num_queries, max(1, num_pairs // num_positives))
        self._num_candidates = min(num_pairs, num_positives)
        num_pairs = self._num_queries * self._num_candidates
        with_slope = largest.gradient is not None
        self._steps = SoftSteps(num_pairs * num_gallery, largest.is_negative, with_slope)
        self._rank_steps = SoftSteps(num_pairs * num_positives * score.uses_rank, largest.is_negative, with_slope)

    def penalties(self, block: Block) -> Tensor:
        """Each query's mean penalty: (B,). The block's gradients are complete afterwards."""
        penalties = block.is_negative.new_zeros(len(block.positives))
        for queries, chosen in self._slices(*block.positives.shape):
            penalties[queries] += self._tile(block, queries, chosen)
        return penalties

    def _slices(self, num_queries: int, num_positives: int) -> Iterator[tuple[slice, slice]]:
        for first in range(0, num_queries, self._num_queries):
            for begin in range(0, num_positives, self._num_candidates):
                yield slice(first, first + self._num_queries), slice(begin, begin + self._num_candidates)

    def _tile(self, block: Block, queries: slice, chosen: slice) -> Tensor:
        candidates, num_positives = block.positives[queries, chosen], block.positives.shape[1]
        step, slope = self._steps(candidates, block.scaled[queries], block.is_negative[queries])
        ahead, rank_slope = step.sum(-1), None
        rank = torch.ones_like(ahead)
        if self._score.uses_rank:
            place = torch.arange(num_positives, device=candidates.device)
            is_other = (place[chosen, None] != place).to(ahead.dtype)
            rank_step, rank_slope = self._rank_steps(candidates, block.positives[queries], is_other)
            rank += rank_step.sum(-1)
        if block.gradient is not None and block.positive_gradient is not None:
            by_ahead, by_rank = self._score.slopes(ahead, rank, num_positives)
            by_candidate = block.positive_gradient[queries, chosen]
            _add_gradient(block.gradient[queries], by_candidate, by_ahead / num_positives, slope)
            if rank_slope is not None:
                _add_gradient(block.positive_gradient[queries], by_candidate, by_rank / num_positives, rank_slope)
        return self._score.value(ahead, rank, num_positives).sum(1) / num_positives


def _add_gradient(by_competitor: Tensor, by_candidate: Tensor, by_count: Tensor, slope: Tensor) -> None:
    """Adds a tile's derivatives to (B, g) and (B, p) in place: what a competitor's rise does, a candidate's undoes.

    by_count: (B, p), the loss's derivative by each candidate's count. slope: (B, p, g).
    """
    by_competitor.unsqueeze(1).baddbmm_(by_count.unsqueeze(1), slope)
    by_candidate.sub_(by_count * slope.sum(-1))
