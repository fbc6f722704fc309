"""Smooth-AP: a differentiable average precision. Legend: N batch, D embedding."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from shelfmark.losses.checks import require_positive
from shelfmark.losses.loss import option
from shelfmark.losses.ranking import RankingLoss
from shelfmark.ops.soft_rank import RankScore


@dataclass(frozen=True)
class SmoothAP(RankingLoss):
    """1 - average precision, on smoothed ranks: the mean over queries of the mean over positives of N / (R + N).

    N: the soft number of negatives before the positive. R: its soft rank among the positives. See docs/losses.md.
    Source: Brown, Xie, Kalogeiton, Zisserman, "Smooth-AP: Smoothing the Path Towards Large-Scale Image Retrieval",
    ECCV 2020.
    """

    temperature: float = option(
        0.01,
        "temperature of the sigmoid that stands for the comparison of two similarities. The smaller, the"
        " nearer to true ranks; above 0",
    )
    include_self: bool = option(
        False,
        "whether each image is also a positive of itself, so that every image is a query, as in the authors' code",
    )

    def __post_init__(self) -> None:
        require_positive("temperature", self.temperature)

    @property
    def score(self) -> RankScore:
        return _Imprecision()


class _Imprecision:
    """1 - R / (R + N), without the cancellation."""

    uses_rank = True
    needs_negatives = True

    def value(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> Tensor:
        return ahead / (rank + ahead)

    def slopes(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> tuple[Tensor, Tensor]:
        squared = (rank + ahead).square()
        return rank / squared, -ahead / squared
