"""Supervised contrastive learning. Legend: B queries of a block, G gallery rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from shelfmark.losses.checks import require_positive
from shelfmark.losses.loss import option
from shelfmark.losses.pairs import PairLoss, Pairs
from shelfmark.losses.retrieval import Sums
from shelfmark.ops.log_sum_exp import masked_log_sum_exp


@dataclass(frozen=True)
class SupConLoss(PairLoss):
    """-1 / |P| sum_P log(e^(s_p / T) / sum_A e^(s_a / T)), mean over the queries that have a positive.

    P: the query's positives. A: all labelled rows but the query itself, so other positives are in the denominator.
    T: the temperature.
    Source: Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, eq. 2 (the sum outside of the logarithm).
    """

    temperature: float = option(
        0.1,
        "temperature of the softmax over similarities. The smaller, the more the most similar images count; above 0",
    )

    def __post_init__(self) -> None:
        require_positive("temperature", self.temperature)

    def pair_sums(self, pairs: Pairs) -> Sums:
        logits = pairs.similarity / self.temperature
        num_positives = pairs.positive.sum(1)
        is_query = num_positives > 0
        mean_positive = torch.where(pairs.positive, logits, 0).sum(1) / num_positives.clamp_min(1)
        losses = masked_log_sum_exp(logits, pairs.positive | pairs.negative) - mean_positive
        return Sums(losses[is_query].sum()[None], is_query.sum()[None])
