"""The soft-rank loss as its formula reads, for every triple at once. Legend: Q queries, G gallery rows.

The faster implementations are compared with this one. It needs (Q, G, G) memory. Autograd finds its gradient, and its
second derivative too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from shelfmark.ops.similarity import dot_products
from shelfmark.ops.soft_rank.ranking import Ranking
from shelfmark.ops.soft_rank.steps import SATURATION


def soft_rank_total(ranking: Ranking) -> tuple[Tensor, int]:
    """The result of `shelfmark.ops.soft_rank.soft_rank_total`."""
    rows = torch.arange(len(ranking.gallery), device=ranking.gallery.device)
    same = ranking.query_labels[:, None] == ranking.gallery_labels
    positive = same if ranking.include_self else same & (rows != ranking.self_index[:, None])
    similarity = dot_products(ranking.query, ranking.gallery)
    # step[q, i, j]: how far row j stands before row i in the ranking of query q.
    difference = (similarity[:, None, :] - similarity[:, :, None]) / ranking.temperature
    step = 1 / (1 + (-difference).clamp(-SATURATION, SATURATION).exp())
    ahead = (step * ~same[:, None, :]).sum(2)
    rank = 1 + (step * (positive[:, None, :] & (rows[:, None] != rows))).sum(2)
    num_positives = positive.sum(1)
    penalties = torch.where(positive, ranking.score.value(ahead, rank, num_positives.clamp_min(1)[:, None]), 0).sum(1)
    return (penalties / num_positives.clamp_min(1)).sum(), int((num_positives > 0).sum())
