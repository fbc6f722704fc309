"""The soft-rank loss in plain torch, tile by tile.

Legend: Q queries, G gallery rows, D embedding, P positives a query, B queries of a block.

A query's loss needs only its pairs (positive, gallery row): P * G of the G * G that a formula over all triples
has. And because the loss is one number, its gradient is known as soon as a tile is: no tile is kept. The memory is
that of one block of similarity rows (B, G), one tile and the gradients (Q, D) and (G, D).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from shelfmark.ops.soft_rank.groups import QueryGroup, group_queries
from shelfmark.ops.soft_rank.one_pass import one_pass_total
from shelfmark.ops.soft_rank.ranking import Ranking
from shelfmark.ops.soft_rank.tiles import Block, Tiles

_MIN_BLOCK_ROWS = 32
FINE_TEMPERATURE = 0.01
"""Below it float32 similarities, at an error of 1e-7 each, would lose the fourth digit of the gradient."""


@dataclass(frozen=True)
class WorkingMemory:
    """Bytes of a block of similarity rows, and of one of a tile's buffers. They change the speed, not the result."""

    block: int
    tile: int

    @classmethod
    def of(cls, device: torch.device) -> WorkingMemory:
        """On a CPU a tile fits a core's cache; elsewhere it must outweigh the start of a kernel."""
        return cls(block=2**22, tile=2**20) if device.type == "cpu" else cls(block=2**28, tile=2**27)


def soft_rank_total(ranking: Ranking, memory: WorkingMemory | None = None) -> tuple[Tensor, int]:
    """The result of `shelfmark.ops.soft_rank.soft_rank_total`."""
    num_queries, groups = group_queries(ranking)
    gallery = ranking.gallery.detach()
    engine = _Engine(
        ranking=ranking.detached(),
        keys=gallery.to(torch.float64 if ranking.temperature < FINE_TEMPERATURE else gallery.dtype),
        groups=groups,
        memory=memory or WorkingMemory.of(gallery.device),
    )
    return one_pass_total(ranking, engine), num_queries


@dataclass(frozen=True)
class _Engine:
    """keys: the gallery in the dtype that similarities are computed in."""

    ranking: Ranking
    keys: Tensor
    groups: list[QueryGroup]
    memory: WorkingMemory

    def total(self, query_gradient: Tensor | None, gallery_gradient: Tensor | None) -> Tensor:
        """The sum of the penalties, 0-dim. Its gradients are added to the tensors; both may be the same tensor."""
        with_gradient = query_gradient is not None or gallery_gradient is not None
        query = self.ranking.query
        penalties = query.new_zeros(len(query))
        num_rows = max(_MIN_BLOCK_ROWS, self.memory.block // (max(1, len(self.keys)) * query.element_size()))
        for group in self.groups:
            tiles = None
            for part in group.blocks(num_rows):
                columns = part.columns()
                block = self._block(part, columns, with_gradient)
                tiles = tiles or Tiles(self.ranking.score, block, self.memory.tile)
                penalties[part.rows] = tiles.penalties(block)
                if block.gradient is not None and block.positive_gradient is not None:
                    block.gradient.scatter_(1, columns, block.positive_gradient).div_(self.ranking.temperature)
                    self._add_gradients(part, block.gradient, query_gradient, gallery_gradient)
        return penalties.sum()

    def _block(self, part: QueryGroup, columns: Tensor, with_gradient: bool) -> Block:
        query, query_labels = self.ranking.query[part.rows], self.ranking.query_labels[part.rows]
        scaled = (query.to(self.keys.dtype) @ self.keys.T).div_(self.ranking.temperature)
        is_negative = (self.ranking.gallery_labels != query_labels[:, None]).to(query.dtype)
        return Block(
            scaled,
            scaled.gather(1, columns),
            is_negative[:, None],
            torch.zeros_like(is_negative) if with_gradient else None,
            torch.zeros_like(columns, dtype=query.dtype) if with_gradient else None,
        )

    def _add_gradients(
        self, part: QueryGroup, by_similarity: Tensor, query_gradient: Tensor | None, gallery_gradient: Tensor | None
    ) -> None:
        """by_similarity: (B, G), the loss's derivatives."""
        if query_gradient is not None:
            query_gradient.index_add_(0, part.rows, by_similarity @ self.ranking.gallery)
        if gallery_gradient is not None:
            gallery_gradient.addmm_(by_similarity.T, self.ranking.query[part.rows])
