"""Smooth-AP: a differentiable average precision. Legend: N batch, D embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from shelfmark.losses.checks import require_positive
from shelfmark.losses.config import LossConfig, LossContext
from shelfmark.ops.soft_rank import soft_rank_loss


@dataclass(frozen=True)
class SmoothAP:
    """1 - average precision, on smoothed ranks: the mean over queries of the mean over positives of N / (R + N).

    N: the soft number of negatives before the positive. R: its soft rank among the positives. See docs/losses.md.
    temperature: width of the smoothing, in units of the similarity.
    include_self: count a query as its own positive, and every row as a query, as the authors' code does.
    Source: Brown, Xie, Kalogeiton, Zisserman, "Smooth-AP: Smoothing the Path Towards Large-Scale Image Retrieval",
    ECCV 2020.
    """

    temperature: float = 0.01
    include_self: bool = False

    def __post_init__(self) -> None:
        require_positive("temperature", self.temperature)

    def __call__(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """embedding: (N, D), L2-normalised by the caller. labels: (N,) int64, -1 where there is none. 0-dim."""
        return soft_rank_loss(
            embedding,
            labels,
            embedding,
            labels,
            torch.arange(len(labels), device=labels.device),
            score=_Imprecision(),
            temperature=self.temperature,
            include_self=self.include_self,
        )


@dataclass(frozen=True, kw_only=True)
class SmoothAPConfig(LossConfig):
    """`{name: smooth_ap, head: ...}`"""

    global_batch: ClassVar[bool] = True

    name: Literal["smooth_ap"] = "smooth_ap"
    temperature: float = 0.01
    """width of the smoothing, in units of the similarity"""
    include_self: bool = False
    """count a query as its own positive, and every row as a query, as the authors' code does"""

    def __post_init__(self) -> None:
        super().__post_init__()
        SmoothAP(self.temperature, self.include_self)

    def build(self, context: LossContext) -> SmoothAP:
        return SmoothAP(self.temperature, self.include_self)


class _Imprecision:
    """1 - R / (R + N), without the cancellation."""

    uses_rank = True
    needs_negatives = True

    def value(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> Tensor:
        return ahead / (rank + ahead)

    def slopes(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> tuple[Tensor, Tensor]:
        squared = (rank + ahead).square()
        return rank / squared, -ahead / squared
