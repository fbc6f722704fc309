"""Metric heads: the vectors that ranking losses compare. Legend: N batch, D embedding, d dimensions of the head."""

from __future__ import annotations

from torch import Tensor, nn

from shelfmark.models.heads.projection import projection
from shelfmark.models.heads.unit_rows import unit_rows


class MetricHead(nn.Module):
    """Vectors of length 1: (N, D) to (N, d), float32. dim=0 normalises the embedding itself, so d is D.

    hidden_dim: width of a layer with ReLU before the projection, 0 is none.
    """

    def __init__(self, num_features: int, dim: int = 0, hidden_dim: int = 0) -> None:
        super().__init__()
        self.projection = projection(num_features, dim, hidden_dim)

    def forward(self, embedding: Tensor) -> Tensor:
        return unit_rows(self.projection(embedding))
