"""The N-pair loss. Legend: B queries of a block, D embedding."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from shelfmark.core.contracts import UNLABELLED
from shelfmark.losses.checks import require_not_negative
from shelfmark.losses.nt_xent import NTXentLoss
from shelfmark.losses.pairs import PairLoss, Pairs
from shelfmark.losses.retrieval import Sums


@dataclass(frozen=True)
class NPairLoss(PairLoss):
    """log(1 + sum_N exp(s_n - s_p)), mean over positive pairs, + l2_weight times the mean squared length of the rows.

    The first part is NT-Xent of temperature 1 on plain dot products, the second a mean over labelled rows. All
    negatives of the gallery count; the paper draws one pair a class and takes the other classes' positives.
    l2_weight: keeps free vectors short. No option of a config: a metric head's vectors all have length 1.
    Source: Sohn, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective", NeurIPS 2016.
    """

    l2_weight: float = 0.0

    def __post_init__(self) -> None:
        require_not_negative("l2_weight", self.l2_weight)

    def pair_sums(self, pairs: Pairs) -> Sums:
        contrast = NTXentLoss(temperature=1.0).pair_sums(pairs)
        labelled = pairs.query_labels != UNLABELLED
        squared_lengths = pairs.query[labelled].square().sum()
        return Sums(
            torch.cat([contrast.totals, self.l2_weight * squared_lengths[None]]),
            torch.cat([contrast.counts, labelled.sum()[None]]),
        )
