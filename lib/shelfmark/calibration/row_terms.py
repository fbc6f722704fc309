"""The terms of each row in the mean negative log-likelihood (nll) of logits / T. Legend: N images, C classes.

With b = 1 / T and x a row's logits less the greatest, an image's nll is lse(b) - b x_label, where lse(b) is the
logarithm of the sum of exp(b x). The derivatives of lse are the mean, variance and third central moment of x under the
softmax of b x. So one pass over the logits gives, for each b, the nll in its neighbourhood.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shelfmark.calibration.calibrated import Calibrated, blocks
from shelfmark.calibration.sweep import Candidate, sweep_hits, tiles
from shelfmark.core.errors import UserError
from shelfmark.core.types import Array


@dataclass(frozen=True, eq=False)
class RowTerms:
    """own: (N,) logit of the label; mean: (N,) mean logit; both less the row's greatest. hits: (N,) bool, whether the
    label's logit is the greatest.

    lse: by b, (4, N): lse and its first three derivatives. All float64, on the CPU.
    """

    own: Tensor
    mean: Tensor
    hits: Tensor
    lse: dict[float, Tensor]

    def lse_near(self, inverse: float, known: float) -> Tensor:
        """(N,) lse at b = inverse, from its derivatives at b = known: the error is of order (inverse - known)**4."""
        value, first, second, third = self.lse[known]
        way = inverse - known
        return value + way * (first + way / 2 * (second + way / 3 * third))


def row_terms(classifier: Calibrated, features: Array, labels: Tensor, inverses: Sequence[float]) -> RowTerms:
    """The terms of all rows at each b of `inverses`, from one pass. features: (N, D). labels: (N,) in 0..C-1."""
    num_classes = classifier.logits(features[:1]).shape[1]
    own, mean = torch.empty(2, len(labels), dtype=torch.float64)
    hits = torch.empty(len(labels), dtype=torch.bool)
    lse = {inverse: torch.empty(4, len(labels), dtype=torch.float64) for inverse in inverses}
    for block in blocks(len(labels), num_classes):
        logits, wanted = classifier.logits(features[block]), labels[block]
        wanted = wanted.to(logits.device)
        # Two float64 arrays take the room of four float32 arrays.
        for tile in tiles(logits, 16 // logits.element_size()):
            rows = slice(block.start + tile.start, block.start + tile.stop)
            moved = logits[tile].double()
            moved = moved - moved.amax(dim=1, keepdim=True)
            mean[rows] = moved.mean(dim=1)
            own[rows] = moved.gather(1, wanted[tile, None])[:, 0]
            weights = torch.empty_like(moved)
            for inverse, found in lse.items():
                found[:, rows] = _lse_and_derivatives(moved, inverse, weights)
        if not mean[block].isfinite().all():
            raise UserError("temperature: the logits hold NaN or infinity. Take an earlier checkpoint.")
        hits[block] = sweep_hits(logits, wanted, [Candidate()], "temperature")[0]
    return RowTerms(own, mean, hits, lse)


def _lse_and_derivatives(moved: Tensor, inverse: float, weights: Tensor) -> Tensor:
    """(4, n). moved: (n, C), 0 or below. weights: (n, C), overwritten."""
    torch.mul(moved, inverse, out=weights).exp_()
    sums = [weights.sum(dim=1)]
    for _ in range(3):
        sums.append(weights.mul_(moved).sum(dim=1))
    first, second, third = (total / sums[0] for total in sums[1:])
    variance = second - first.square()
    return torch.stack([sums[0].log(), first, variance, third - first * (3 * variance + first.square())])
