"""Metric heads: the vectors that ranking losses compare. Legend: N batch, D embedding, d dimensions of the head."""

from __future__ import annotations

from torch import Tensor, nn

from shelfmark.models.heads.unit_rows import unit_rows


class MetricHead(nn.Module):
    """Vectors of length 1: (N, D) to (N, d), float32. dim=0 normalises the embedding itself, so d is D."""

    def __init__(self, num_features: int, dim: int = 0) -> None:
        super().__init__()
        self.projection = nn.Linear(num_features, dim) if dim else nn.Identity()

    def forward(self, embedding: Tensor) -> Tensor:
        return unit_rows(self.projection(embedding))
