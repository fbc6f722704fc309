"""The ranked list loss: positives within a distance, negatives beyond a greater one. Legend: B queries, G gallery."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from shelfmark.core.contracts import UNLABELLED
from shelfmark.losses.checks import require_not_negative, require_positive
from shelfmark.losses.loss import option
from shelfmark.losses.pairs import PairLoss, Pairs
from shelfmark.losses.retrieval import Sums
from shelfmark.ops.log_sum_exp import masked_log_sum_exp


@dataclass(frozen=True)
class RankedListLoss(PairLoss):
    """(1 - balance) sum_P w_p (d_p - boundary + margin) + balance sum_N w_n (boundary - d_n), mean over labelled rows.

    d: Euclidean distance. P: the query's positives beyond boundary - margin. N: its negatives within boundary. A sum
    over nothing is 0. w: softmax over P, or over N, of temperature times the bracket (the temperature multiplies, as
    in the paper); constants to the gradient, which they share out among the rows.
    Source: Wang, Hua, Kodirov, Hu, Garnier, Robertson, "Ranked List Loss for Deep Metric Learning", CVPR 2019.
    """

    margin: float = option(0.4, "positives should be nearer than boundary - margin; 0 to boundary")
    boundary: float = option(1.2, "negatives should be farther away than this Euclidean distance; above 0")
    negative_temperature: float = option(
        10.0, "the larger, the more the nearest negatives count; 0 or above. 0: all count the same"
    )
    positive_temperature: float = option(
        0.0, "the larger, the more the farthest positives count; 0 or above. 0: all count the same"
    )
    balance: float = option(0.5, "weight of the negatives, 0 to 1. The positives have the weight 1 - balance")

    def __post_init__(self) -> None:
        require_positive("boundary", self.boundary)
        if not 0 <= self.margin <= self.boundary:
            raise ValueError(f"margin={self.margin} must lie between 0 and boundary={self.boundary}")
        for name in ("negative_temperature", "positive_temperature"):
            require_not_negative(name, getattr(self, name))
        if not 0 <= self.balance <= 1:
            raise ValueError(f"balance={self.balance} must lie between 0 and 1")

    def pair_sums(self, pairs: Pairs) -> Sums:
        too_far = pairs.distance - (self.boundary - self.margin)
        too_near = self.boundary - pairs.distance
        pull = _weighted_violation(too_far, pairs.positive, self.positive_temperature)
        push = _weighted_violation(too_near, pairs.negative, self.negative_temperature)
        losses = (1 - self.balance) * pull + self.balance * push
        return Sums(losses.sum()[None], (pairs.query_labels != UNLABELLED).sum()[None])


def _weighted_violation(violation: Tensor, candidates: Tensor, temperature: float) -> Tensor:
    """Each query's mean violation above 0 with the weights softmax(temperature * violation): (B, G) to (B,)."""
    violates = candidates & (violation > 0)
    logits = temperature * violation.detach()
    weights = (logits - masked_log_sum_exp(logits, violates)[:, None]).exp()
    return (torch.where(violates, weights, 0) * violation).sum(1)
