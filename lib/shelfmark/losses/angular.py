"""The angular loss. Legend: B queries of a block, G gallery rows, D embedding, n pairs of a tile."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from shelfmark.losses.loss import option
from shelfmark.losses.pairs import PairLoss, Pairs
from shelfmark.losses.retrieval import Sums
from shelfmark.ops.log_sum_exp import log1p_exp, masked_log_sum_exp
from shelfmark.ops.similarity import dot_products


@dataclass(frozen=True)
class AngularLoss(PairLoss):
    """log(1 + sum_N exp(4 t (x_a + x_p) x_n - 2 (1 + t) x_a x_p)), t = tan^2(angle_deg), mean over positive pairs.

    It presses the angle at the negative n, in its triangle with anchor a and positive p, below a bound. Where there is
    no negative it is 0.
    Source: Wang, Zhou, Wen, Liu, Lin, "Deep Metric Learning with Angular Loss", ICCV 2017, the N-pair form.
    """

    angle_deg: float = option(
        40.0,
        "in the triangle of query, positive and negative, the angle at the negative should be below this;"
        " in degrees, between 0 and 90",
    )

    def __post_init__(self) -> None:
        if not 0 < self.angle_deg < 90:
            raise ValueError(f"angle_deg={self.angle_deg} must lie between 0 and 90, both excluded")

    def pair_sums(self, pairs: Pairs) -> Sums:
        anchors, positives = pairs.positive.nonzero(as_tuple=True)
        # There can be many more positive pairs than queries: their (n, G) tensors are made and dropped tile by tile.
        num_pairs = max(1, len(pairs.query))
        totals = [
            checkpoint(self._total, pairs, *tile, use_reentrant=False, preserve_rng_state=False)
            for tile in zip(anchors.split(num_pairs), positives.split(num_pairs))
        ]
        return Sums(torch.stack(totals).sum()[None], pairs.positive.sum()[None])

    def _total(self, pairs: Pairs, anchors: Tensor, positives: Tensor) -> Tensor:
        """The sum over the pairs of these anchors, rows of the block, and these positives, rows of the gallery."""
        anchor, positive = pairs.query[anchors], pairs.gallery[positives]
        squared_tangent = math.tan(math.radians(self.angle_deg)) ** 2
        logits = 4 * squared_tangent * dot_products(anchor + positive, pairs.gallery)
        together = 2 * (1 + squared_tangent) * (anchor * positive).sum(1)
        return log1p_exp(masked_log_sum_exp(logits, pairs.negative[anchors]) - together).sum()
