"""Multi-similarity: soft maxima over positives and over negatives. Legend: B queries of a block, G gallery rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from shelfmark.core.contracts import UNLABELLED
from shelfmark.losses.checks import require_positive
from shelfmark.losses.loss import option
from shelfmark.losses.miners import Miner, mined_pairs, require_miner
from shelfmark.losses.pairs import PairLoss, Pairs
from shelfmark.losses.retrieval import Sums
from shelfmark.ops.log_sum_exp import log1p_exp, masked_log_sum_exp


@dataclass(frozen=True)
class MultiSimilarityLoss(PairLoss):
    """log(1 + sum_P e^(-alpha (s_p - base))) / alpha + log(1 + sum_N e^(beta (s_n - base))) / beta.

    The mean over labelled rows; a sum over nothing, or over nothing that the miner keeps, is 0.
    P: the positives, N: the negatives. seed: of random mining.
    Source: Wang, Han, Huang, Dong, Scott, "Multi-Similarity Loss with General Pair Weighting for Deep Metric
    Learning", CVPR 2019, eq. 15; its mining of pairs is `miner="multi_similarity"`.
    """

    alpha: float = option(
        2.0, "sharpness over the positives. The larger, the more the least similar positives count; above 0"
    )
    beta: float = option(
        50.0, "sharpness over the negatives. The larger, the more the most similar negatives count; above 0"
    )
    base: float = option(0.5, "positives should be more similar than this, negatives less similar")
    miner: Miner = option(
        "none",
        "which pairs count. none: all. hard: for each query the least similar positive and the most"
        " similar negative. semihard: all positives, and for each the most similar negative that is less"
        " similar than it. multi_similarity: pairs that are hard by epsilon, as in the paper."
        " distance_weighted: all positives, and for each a random negative, drawn so that near and far"
        " negatives come up alike",
    )
    epsilon: float = option(
        0.1,
        "for miner=multi_similarity: a positive counts if it is less similar than the most similar"
        " negative + epsilon, a negative if it is more similar than the least similar positive - epsilon;"
        " 0 or above",
    )
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive("alpha", self.alpha)
        require_positive("beta", self.beta)
        if not math.isfinite(self.base):
            raise ValueError(f"base={self.base} must be a finite number")
        require_miner(self.miner, self.epsilon)

    def pair_sums(self, pairs: Pairs) -> Sums:
        positive, negative = mined_pairs(pairs, self.miner, epsilon=self.epsilon, seed=self.seed)
        above = pairs.similarity - self.base
        pull = log1p_exp(masked_log_sum_exp(-self.alpha * above, positive)) / self.alpha
        push = log1p_exp(masked_log_sum_exp(self.beta * above, negative)) / self.beta
        return Sums((pull + push).sum()[None], (pairs.query_labels != UNLABELLED).sum()[None])
