"""Proxy heads: vectors, and learned points of each class for them.

Legend: N batch, D embedding, d dimensions of the head, C classes, J proxies a class.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shelfmark.core.contracts import Proxies
from shelfmark.models.heads.projection import projection
from shelfmark.models.heads.unit_rows import unit_rows
from shelfmark.models.options import HeadOptions


class ProxyHead(nn.Module):
    """Vectors of length 1 with the proxies: (N, D) to Proxies, (N, d) and (C, J, d), float32.

    options.dim=0 normalises the embedding itself, so d is D. The proxies start with length 1 and may come to have any.
    """

    def __init__(self, num_features: int, num_classes: int, options: HeadOptions) -> None:
        super().__init__()
        self.projection = projection(num_features, options)
        centers_per_class, dim = options.centers_per_class, options.dim or num_features
        # A direction drawn uniformly, of length 1: the gradient of a cosine shrinks with the length.
        directions = unit_rows(torch.randn(num_classes * centers_per_class, dim))
        self.weight = nn.Parameter(directions.view(num_classes, centers_per_class, -1))

    def forward(self, embedding: Tensor) -> Proxies:
        return Proxies(unit_rows(self.projection(embedding)), self.weight)

    def extra_repr(self) -> str:
        num_classes, centers_per_class, dim = self.weight.shape
        return f"num_classes={num_classes}, centers_per_class={centers_per_class}, dim={dim}"
