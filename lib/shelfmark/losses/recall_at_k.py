"""The Recall@k surrogate. Legend: N batch, D embedding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from shelfmark.losses.checks import require_positive
from shelfmark.losses.loss import option
from shelfmark.losses.ranking import RankingLoss


@dataclass(frozen=True)
class RecallAtK(RankingLoss):
    """1 - the mean over `ks` of a smooth Recall@k: how many of a query's positives stand among the first k.

    Recall@k = (1 / min(k, |P|)) sum_i sg((k - r_i) / rank_temperature), with r_i the soft rank of positive i among
    all rows, 1 for the first. A perfect ranking does not reach 0: at r = k the step counts one half.
    Source: Patel, Tolias, Matas, "Recall@k Surrogate Loss with Large Batches and Similarity Mixup", CVPR 2022, eq. 4-6.
    """

    ks: tuple[int, ...] = option((1, 2, 4, 8, 16), "the values of k. The loss is the mean over them")
    temperature: float = option(
        0.01,
        "temperature of the sigmoid that stands for the comparison of two similarities. The smaller, the"
        " nearer to true ranks; above 0",
    )
    rank_temperature: float = option(
        1.0,
        "temperature of the sigmoid that stands for the cut at rank k, in ranks. The smaller, the nearer"
        " to true recall; above 0",
    )
    include_self: bool = option(
        False, "whether each image is also a positive of itself, so that every image is a query"
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "ks", tuple(self.ks))
        if not self.ks or min(self.ks) < 1 or len(set(self.ks)) < len(self.ks):
            raise ValueError(f"ks={list(self.ks)} must be different whole numbers of 1 or above, at least one")
        require_positive("temperature", self.temperature)
        require_positive("rank_temperature", self.rank_temperature)

    @property
    def score(self) -> _MissedRecall:
        return _MissedRecall(self.ks, self.rank_temperature)


@dataclass(frozen=True)
class _MissedRecall:
    """1 - the mean over k of |P| / min(k, |P|) sg((k - r) / T): its mean over positives is 1 - the mean Recall@k."""

    ks: tuple[int, ...]
    temperature: float

    uses_rank = True
    needs_negatives = False

    def value(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> Tensor:
        inside, share = self._steps(ahead + rank, num_positives)
        return 1 - (inside * share).mean(-1)

    def slopes(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> tuple[Tensor, Tensor]:
        inside, share = self._steps(ahead + rank, num_positives)
        slope = (inside * (1 - inside) * share).mean(-1) / self.temperature
        return slope, slope

    def _steps(self, rank: Tensor, num_positives: Tensor | int) -> tuple[Tensor, Tensor]:
        """Whether a positive is among the first k, smoothly, and what that is worth: (..., K) each."""
        ks = torch.tensor(self.ks, dtype=rank.dtype, device=rank.device)
        total = torch.as_tensor(num_positives, dtype=rank.dtype, device=rank.device)[..., None]
        return torch.sigmoid((ks - rank[..., None]) / self.temperature), total / torch.minimum(ks, total)
