"""The soft-rank loss as its formula reads, for every triple at once. Legend: Q queries, M gallery rows.

The twin that the fast ones are compared with: it needs (Q, M, M) memory, and autograd finds its gradient, and its
second derivative too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from shelfmark.ops.similarity import dot_products
from shelfmark.ops.soft_rank.score import RankScore
from shelfmark.ops.soft_rank.steps import SATURATION


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
) -> tuple[Tensor, int]:
    """The result of `shelfmark.ops.soft_rank.soft_rank_total`, for inputs that it has checked."""
    rows = torch.arange(len(gallery), device=gallery.device)
    same = query_labels[:, None] == gallery_labels
    positive = same if include_self else same & (rows != self_index[:, None])
    similarity = dot_products(query, gallery)
    # step[q, i, j]: how far row j stands before row i in the ranking of query q.
    difference = (similarity[:, None, :] - similarity[:, :, None]) / temperature
    step = 1 / (1 + (-difference).clamp(-SATURATION, SATURATION).exp())
    ahead = (step * ~same[:, None, :]).sum(2)
    rank = 1 + (step * (positive[:, None, :] & (rows[:, None] != rows))).sum(2)
    num_positives = positive.sum(1)
    penalties = torch.where(positive, score.value(ahead, rank, num_positives.clamp_min(1)[:, None]), 0).sum(1)
    return (penalties / num_positives.clamp_min(1)).sum(), int((num_positives > 0).sum())
