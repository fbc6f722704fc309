"""Whether an edge joins two nodes of one class. Legend: N nodes, n nodes asked for, K places, d dimensions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shelfmark.core.devices import has_fast_bf16
from shelfmark.core.errors import choose

PRECISIONS = ("fp32", "bf16", "auto")
_FIRST_SLOPE = 0.25


class EdgeClassifier(nn.Module):
    """Logits of (another class, the same class): PReLU -> Linear(d) -> PReLU -> Linear(2) of u_j + v_i.

    slopes, inner_slopes: (d,), of the two PReLU, one a channel. inner: Linear(d, d). outer: Linear(d, 2).
    """

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.slopes = nn.Parameter(torch.full((width,), _FIRST_SLOPE))
        self.inner_weight = nn.Parameter(torch.empty(width, width))
        self.inner_bias = nn.Parameter(torch.empty(width))
        self.inner_slopes = nn.Parameter(torch.full((width,), _FIRST_SLOPE))
        self.outer_weight = nn.Parameter(torch.empty(2, width))
        self.outer_bias = nn.Parameter(torch.empty(2))
        bound = 1 / math.sqrt(width)
        with torch.no_grad():
            for parameter in (self.inner_weight, self.inner_bias, self.outer_weight, self.outer_bias):
                parameter.uniform_(-bound, bound, generator=generator)

    def forward(self, as_neighbour: Tensor, neighbours: Tensor, as_node: Tensor) -> Tensor:
        """(n, K, 2), float32 at least. as_neighbour: (N, d), u. as_node: (n, d), v. neighbours: (n, K).

        The inner layer is computed in the dtype of u and v, summed in float32.
        """
        gathered = as_neighbour.index_select(0, neighbours.flatten()).view(*neighbours.shape, as_neighbour.shape[1])
        dtype = gathered.dtype
        hidden = F.prelu((gathered + as_node[:, None]).flatten(0, 1), self.slopes.to(dtype))
        hidden = F.linear(hidden, self.inner_weight.to(dtype), self.inner_bias.to(dtype))
        hidden = F.prelu(hidden, self.inner_slopes.to(dtype)).to(self.outer_weight.dtype)
        return F.linear(hidden, self.outer_weight, self.outer_bias).view(*neighbours.shape, 2)


def edge_precision(precision: str, like: Tensor) -> torch.dtype:
    """The dtype of the edges' inner layer: that of `like`, or bfloat16."""
    choose("precision", precision, PRECISIONS)
    if precision == "auto":
        precision = "bf16" if like.dtype == torch.float32 and has_fast_bf16(like.device) else "fp32"
    return torch.bfloat16 if precision == "bf16" else like.dtype
