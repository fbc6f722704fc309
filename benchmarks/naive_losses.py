"""Smooth-AP and PNP as their formulas read: every triple of rows at once, the gradient from autograd.

Legend: B rows, G rows a class, K = B / G classes, D embedding; q query, i positive, j competitor.

The form of the losses' first implementations, on any device, with their cost: of the tensors over all triples
autograd keeps four for the backward pass (the clipped exponent, its exponential, the step and the mask). The rows are
K blocks of one class each. As in shelfmark's default, a query is neither a positive nor a competitor of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor

PENALTIES = {
    "O": lambda n: n,
    "I_u": lambda n: (1 + n) * torch.log(1 + n),
    "I_b": lambda n: (2 * n - torch.log(1 + 2 * n)) / 4,
    "D_s": lambda n: torch.log(1 + n),
    "D_q": lambda n: 1 - 1 / (1 + n),
}
"""f(N) of each variant of PNP, at b = 2 and alpha = 1."""


def smooth_ap(embedding: Tensor, group_size: int, temperature: float = 0.01) -> Tensor:
    """1 - the mean of a positive's rank among the positives over its rank among all rows; 0-dim.

    embedding: (B, D). Source: Brown et al., ECCV 2020, eq. 6 to 8.
    """
    num_rows = len(embedding)
    blocks = embedding.view(-1, group_size, embedding.shape[1])
    mask = others(num_rows, embedding)
    among_all = 1 + (steps(embedding @ embedding.T, temperature) * mask).sum(-1)
    among_positives = 1 + (steps(blocks @ blocks.mT, temperature) * others(group_size, embedding)).sum(-1)
    precision = among_positives / positives_of(among_all, group_size)
    return 1 - mean_over_positives(precision)


def pnp(embedding: Tensor, group_size: int, variant: str = "D_q", temperature: float = 0.01) -> Tensor:
    """The mean of f(N), N the smoothed number of negatives before a positive; 0-dim.

    embedding: (B, D). Source: Li et al., AAAI 2022.
    """
    num_rows = len(embedding)
    group = torch.arange(num_rows, device=embedding.device) // group_size
    mask = (group[:, None] != group).to(embedding.dtype).repeat(num_rows, 1, 1)
    ahead = (steps(embedding @ embedding.T, temperature) * mask).sum(-1)
    return mean_over_positives(PENALTIES[variant](positives_of(ahead, group_size)))


def steps(similarity: Tensor, temperature: float) -> Tensor:
    """How far row j stands before row i in the ranking of q, 0..1: (..., q, j) to (..., q, i, j)."""
    lead = (similarity[..., None, :] - similarity[..., :, None]) / temperature
    return 1 / (1 + torch.exp(torch.clamp(-lead, -50, 50)))


def others(num_rows: int, like: Tensor) -> Tensor:
    """1 where competitor j is neither i nor the query: (q, i, j)."""
    other = 1 - torch.eye(num_rows, dtype=like.dtype, device=like.device)
    return other[None, :, :] * other[:, None, :]


def positives_of(values: Tensor, group_size: int) -> Tensor:
    """What (B, B) values by query and row say of the query's class: (K, G, G)."""
    num_classes = len(values) // group_size
    blocks = values.view(num_classes, group_size, num_classes, group_size)
    return blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1)


def mean_over_positives(values: Tensor) -> Tensor:
    """The mean of (K, G, G) values, a query's own left out; 0-dim."""
    group_size = values.shape[-1]
    own = torch.eye(group_size, dtype=torch.bool, device=values.device)
    return values[:, ~own].mean()
