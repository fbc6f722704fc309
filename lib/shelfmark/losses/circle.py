"""The circle loss over pairs, and pair CosFace, which is without its weights. Legend: B queries, G gallery rows."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from shelfmark.core.contracts import UNLABELLED
from shelfmark.losses.checks import require_not_negative, require_positive
from shelfmark.losses.loss import option
from shelfmark.losses.pairs import PairLoss, Pairs
from shelfmark.losses.retrieval import Sums
from shelfmark.ops.log_sum_exp import log1p_exp, masked_log_sum_exp


@dataclass(frozen=True)
class CircleLoss(PairLoss):
    """log(1 + sum_P e^(-scale a_p (s_p - 1 + margin)) sum_N e^(scale a_n (s_n - margin))), mean over labelled rows.

    a_p = max(0, 1 + margin - s_p) and a_n = max(0, s_n + margin): the further a similarity is from its optimum, the
    more it weighs. They are constants to the gradient. A row without a positive or without a negative adds 0.
    Source: Sun et al., "Circle Loss: A Unified Perspective of Pair Similarity Optimization", CVPR 2020, eq. 5 and 6.
    """

    margin: float = option(
        0.25, "positives should be more similar than 1 - margin, negatives less similar than margin; 0 or above"
    )
    scale: float = option(128.0, "sharpness. The larger, the more the hardest pairs count; above 0")

    def __post_init__(self) -> None:
        _require_margin_and_scale(self.margin, self.scale)

    def pair_sums(self, pairs: Pairs) -> Sums:
        similarity = pairs.similarity
        constant = similarity.detach()
        positive_weight = (1 + self.margin - constant).relu()
        negative_weight = (constant + self.margin).relu()
        return _contrast(
            pairs,
            -self.scale * positive_weight * (similarity - (1 - self.margin)),
            self.scale * negative_weight * (similarity - self.margin),
        )


@dataclass(frozen=True)
class PairCosFaceLoss(PairLoss):
    """log(1 + sum_P e^(-scale s_p) sum_N e^(scale (s_n + margin))), mean over labelled rows.

    A row without a positive or without a negative adds 0.
    Source: Sun et al., CVPR 2020, eq. 1: the unified loss, whose classification form is that of CosFace.
    """

    margin: float = option(0.25, "each positive should be more similar than each negative by at least this; 0 or above")
    scale: float = option(32.0, "sharpness. The larger, the more the hardest pairs count; above 0")

    def __post_init__(self) -> None:
        _require_margin_and_scale(self.margin, self.scale)

    def pair_sums(self, pairs: Pairs) -> Sums:
        similarity = pairs.similarity
        return _contrast(pairs, -self.scale * similarity, self.scale * (similarity + self.margin))


def _contrast(pairs: Pairs, positive_logits: Tensor, negative_logits: Tensor) -> Sums:
    """log(1 + the sum over positives times the sum over negatives), over labelled rows; logits: (B, G)."""
    pull = masked_log_sum_exp(positive_logits, pairs.positive)
    push = masked_log_sum_exp(negative_logits, pairs.negative)
    return Sums(log1p_exp(pull + push).sum()[None], (pairs.query_labels != UNLABELLED).sum()[None])


def _require_margin_and_scale(margin: float, scale: float) -> None:
    require_not_negative("margin", margin)
    require_positive("scale", scale)
