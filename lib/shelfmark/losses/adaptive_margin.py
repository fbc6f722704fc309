"""ArcFace with larger margins for rarer classes. Legend: N batch, C classes, K proxies a class."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from shelfmark.losses.arcface import require_angle
from shelfmark.losses.checks import require_positive
from shelfmark.losses.config import LossContext
from shelfmark.losses.cosine_softmax import CosineSoftmax, CosineSoftmaxConfig
from shelfmark.ops.labelled import class_labels
from shelfmark.ops.margins import arcface, class_margins, sub_center


@dataclass(frozen=True, eq=False)
class AdaptiveMarginLoss(CosineSoftmax):
    """ArcFaceLoss whose margin is the label's own: a * count**-power + b, from smallest_margin to largest_margin.

    counts: (C,) training images a class, on the cosines' device. The most frequent class gets smallest_margin, the
    rarest largest_margin; all get largest_margin where every class has as many. Margins in radians, 0..pi/2.
    Source: Ha et al., "Google Landmark Recognition 2020 Competition Third Place Solution", 2020.
    """

    counts: Tensor
    smallest_margin: float = 0.05
    largest_margin: float = 0.5
    power: float = 0.25
    scale: float = 64.0
    margins: Tensor = field(init=False)
    """(C,) float64"""

    def __post_init__(self) -> None:
        _check(self.smallest_margin, self.largest_margin, self.power, self.scale)
        margins = class_margins(self.counts, self.smallest_margin, self.largest_margin, self.power)
        object.__setattr__(self, "margins", margins)

    def logits(self, cosine: Tensor, labels: Tensor) -> Tensor:
        if cosine.ndim < 2 or cosine.shape[1] != len(self.margins):
            raise ValueError(f"cosines are {tuple(cosine.shape)}; counts have {len(self.margins)} classes")
        labels = class_labels(labels, len(cosine), len(self.margins))
        margin = self.margins[labels.clamp_min(0)]
        return arcface(sub_center(cosine), labels, margin, self.scale, monotone=True)


@dataclass(frozen=True, kw_only=True)
class AdaptiveMarginConfig(CosineSoftmaxConfig):
    """`{name: adaptive_margin, head: ...}`"""

    name: Literal["adaptive_margin"] = "adaptive_margin"
    smallest_margin: float = 0.05
    """radians that are added to the angle at the most frequent class, 0 to pi/2"""
    largest_margin: float = 0.5
    """radians that are added to the angle at the rarest class, 0 to pi/2"""
    power: float = 0.25
    """how fast margins fall with a class's training images n: as n**-power"""
    scale: float = 64.0
    """factor of the cosines in the softmax"""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.smallest_margin, self.largest_margin, self.power, self.scale)

    def build(self, context: LossContext) -> AdaptiveMarginLoss:
        counts = context.counts.to(context.device)
        return AdaptiveMarginLoss(counts, self.smallest_margin, self.largest_margin, self.power, self.scale)


def _check(smallest_margin: float, largest_margin: float, power: float, scale: float) -> None:
    require_angle("smallest_margin", smallest_margin)
    require_angle("largest_margin", largest_margin)
    if smallest_margin > largest_margin:
        raise ValueError(f"smallest_margin={smallest_margin} must not exceed largest_margin={largest_margin}")
    require_positive("power", power)
    require_positive("scale", scale)
