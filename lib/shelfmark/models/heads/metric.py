"""Metric heads: the vectors that ranking losses compare. Legend: N batch, D embedding, d dimensions of the head."""

from __future__ import annotations

from torch import Tensor, nn

from shelfmark.models.heads.projection import projection
from shelfmark.models.heads.unit_rows import unit_rows
from shelfmark.models.options import HeadOptions


class MetricHead(nn.Module):
    """Vectors of length 1: (N, D) to (N, d), float32. options.dim=0 normalises the embedding itself, so d is D."""

    def __init__(self, num_features: int, options: HeadOptions) -> None:
        super().__init__()
        self.projection = projection(num_features, options)

    def forward(self, embedding: Tensor) -> Tensor:
        return unit_rows(self.projection(embedding))
