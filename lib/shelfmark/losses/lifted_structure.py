"""The lifted structured loss. Legend: B queries, G gallery rows, n rows that are some query's positive."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from shelfmark.losses.loss import option
from shelfmark.losses.miners import with_positive_and_negative
from shelfmark.losses.pairs import PairLoss, Pairs
from shelfmark.losses.retrieval import Sums
from shelfmark.ops.log_sum_exp import masked_log_sum_exp


@dataclass(frozen=True)
class LiftedStructureLoss(PairLoss):
    """The mean over positive pairs (i, j) of [J_ij]+^2 / 2, where both rows' negatives push against the pair.

    J_ij = d_ij + ln(sum_n exp(margin - d_in) + sum_n exp(margin - d_jn)), with n the negatives and d the distance.
    The mean is over pairs (query, positive) of the queries that have a negative too. Within one batch each pair
    comes up in both orders, which leaves the mean the same.
    Source: Oh Song, Xiang, Jegelka, Savarese, "Deep Metric Learning via Lifted Structured Feature Embedding",
    CVPR 2016, eq. 4.
    """

    margin: float = option(1.0, "negatives farther away than this distance hardly count")

    def __post_init__(self) -> None:
        if not math.isfinite(self.margin):
            raise ValueError(f"margin={self.margin} must be a finite number")

    def pair_sums(self, pairs: Pairs) -> Sums:
        pairs = with_positive_and_negative(pairs)
        rows, columns = pairs.positive.nonzero(as_tuple=True)
        positives, place = columns.unique(return_inverse=True)
        own, theirs = self._log_push(pairs), self._log_push_at(pairs, positives)
        lifted = pairs.distance[rows, columns] + torch.logaddexp(own[rows], theirs[place])
        return Sums(F.relu(lifted).square().sum()[None] / 2, pairs.self_index.new_full((1,), len(lifted)))

    def _log_push(self, pairs: Pairs) -> Tensor:
        """ln sum_n exp(margin - d_n) of each query: (B,)."""
        return masked_log_sum_exp(self.margin - pairs.distance, pairs.negative)

    def _log_push_at(self, pairs: Pairs, rows: Tensor) -> Tensor:
        """The same of gallery rows: (n,). They may be the whole gallery, so they too are taken block by block."""

        def log_push(part: Tensor) -> Tensor:
            gallery, labels = pairs.gallery, pairs.gallery_labels
            return self._log_push(Pairs(gallery[part], labels[part], gallery, labels, part, pairs.step))

        parts = rows.split(len(pairs.query))
        return torch.cat([checkpoint(log_push, part, use_reentrant=False, preserve_rng_state=False) for part in parts])
