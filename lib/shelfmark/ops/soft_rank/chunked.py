"""The soft-rank loss in plain torch, tile by tile.

Legend: Q queries, M gallery rows, D embedding, P positives a query, c queries of a block.

A query's loss needs only its pairs (positive, gallery row): P * M of the M * M that a formula over all triples
has. And because the loss is one number, its gradient is known as soon as a tile is: no tile is kept. The memory is
that of one block of similarity rows (c, M), one tile and the gradients (Q, D) and (M, D).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from shelfmark.ops.soft_rank.groups import QueryGroup, group_queries
from shelfmark.ops.soft_rank.one_pass import one_pass_total
from shelfmark.ops.soft_rank.score import RankScore
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
    memory: WorkingMemory | None = None,
) -> tuple[Tensor, int]:
    """The result of `shelfmark.ops.soft_rank.soft_rank_total`, for inputs that it has checked."""
    num_queries, groups = group_queries(query_labels, gallery_labels, self_index, include_self, score.needs_negatives)
    engine = _Engine(
        query=query.detach(),
        query_labels=query_labels,
        gallery=gallery.detach(),
        keys=gallery.detach().to(torch.float64 if temperature < FINE_TEMPERATURE else gallery.dtype),
        gallery_labels=gallery_labels,
        groups=groups,
        score=score,
        temperature=temperature,
        memory=memory or WorkingMemory.of(query.device),
    )
    return one_pass_total(query, gallery, engine), num_queries


@dataclass(frozen=True)
class _Engine:
    """keys: the gallery in the dtype that similarities are computed in."""

    query: Tensor
    query_labels: Tensor
    gallery: Tensor
    keys: Tensor
    gallery_labels: Tensor
    groups: list[QueryGroup]
    score: RankScore
    temperature: float
    memory: WorkingMemory

    def total(self, query_gradient: Tensor | None, gallery_gradient: Tensor | None) -> Tensor:
        """The sum of the penalties, 0-dim. Its gradients are added to the tensors, which may be one and the same."""
        with_gradient = query_gradient is not None or gallery_gradient is not None
        penalties = self.query.new_zeros(len(self.query))
        num_rows = max(_MIN_BLOCK_ROWS, self.memory.block // (max(1, len(self.gallery)) * self.query.element_size()))
        for group in self.groups:
            tiles = None
            for part in group.blocks(num_rows):
                columns = part.columns()
                block = self._block(part, columns, with_gradient)
                tiles = tiles or Tiles(self.score, block, self.memory.tile)
                penalties[part.rows] = tiles.penalties(block)
                if block.gradient is not None and block.positive_gradient is not None:
                    block.gradient.scatter_(1, columns, block.positive_gradient).div_(self.temperature)
                    self._add_gradients(part, block.gradient, query_gradient, gallery_gradient)
        return penalties.sum()

    def _block(self, part: QueryGroup, columns: Tensor, with_gradient: bool) -> Block:
        scaled = (self.query[part.rows].to(self.keys.dtype) @ self.keys.T).div_(self.temperature)
        is_negative = (self.gallery_labels != self.query_labels[part.rows, None]).to(self.query.dtype)
        return Block(
            scaled,
            scaled.gather(1, columns),
            is_negative[:, None],
            torch.zeros_like(is_negative) if with_gradient else None,
            torch.zeros_like(columns, dtype=self.query.dtype) if with_gradient else None,
        )

    def _add_gradients(
        self, part: QueryGroup, by_similarity: Tensor, query_gradient: Tensor | None, gallery_gradient: Tensor | None
    ) -> None:
        """by_similarity: (c, M), the loss's derivatives."""
        if query_gradient is not None:
            query_gradient.index_add_(0, part.rows, by_similarity @ self.gallery)
        if gallery_gradient is not None:
            gallery_gradient.addmm_(by_similarity.T, self.query[part.rows])
