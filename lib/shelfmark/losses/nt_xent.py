"""NT-Xent, or InfoNCE: each positive against all negatives. Legend: B queries of a block, G gallery rows."""

from __future__ import annotations

from dataclasses import dataclass

from shelfmark.losses.checks import require_positive
from shelfmark.losses.loss import option
from shelfmark.losses.pairs import PairLoss, Pairs
from shelfmark.losses.retrieval import Sums
from shelfmark.ops.log_sum_exp import log1p_exp, masked_log_sum_exp


@dataclass(frozen=True)
class NTXentLoss(PairLoss):
    """The cross-entropy of telling each positive p from the negatives N of its query, mean over positive pairs.

    -log(e^(s_p / T) / (e^(s_p / T) + sum_N e^(s_n / T))). Where there is no negative it is 0.
    T: the temperature.
    Source: Chen, Kornblith, Norouzi, Hinton, "A Simple Framework for Contrastive Learning of Visual Representations",
    ICML 2020, eq. 1; other positives of the query are left out of the denominator.
    """

    temperature: float = option(
        0.07,
        "temperature of the softmax over similarities. The smaller, the more the most similar negatives count; above 0",
    )

    def __post_init__(self) -> None:
        require_positive("temperature", self.temperature)

    def pair_sums(self, pairs: Pairs) -> Sums:
        logits = pairs.similarity / self.temperature
        against = masked_log_sum_exp(logits, pairs.negative)
        losses = log1p_exp((against[:, None] - logits).masked_select(pairs.positive))
        return Sums(losses.sum()[None], pairs.positive.sum()[None])
