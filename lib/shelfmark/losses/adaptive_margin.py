"""ArcFace with larger margins for rarer classes. Legend: N batch, C classes, J proxies a class."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from shelfmark.losses.arcface import require_angle
from shelfmark.losses.checks import require_positive
from shelfmark.losses.cosine_softmax import CosineSoftmax
from shelfmark.losses.loss import option
from shelfmark.ops.labelled import class_labels
from shelfmark.ops.margins import arcface, class_margins, sub_center


@dataclass(frozen=True, eq=False)
class AdaptiveMarginLoss(CosineSoftmax):
    """ArcFace with a margin for each class: a * count**-power + b, from smallest_margin to largest_margin.

    counts: (C,) training images a class, on the cosines' device. Where all classes have equally many images, all get
    largest_margin.
    Source: Ha et al., "Google Landmark Recognition 2020 Competition Third Place Solution", 2020.
    """

    counts: Tensor
    smallest_margin: float = option(
        0.05,
        "margin of the class with the most training images: radians added to the angle between an image"
        " and its class, 0 to pi/2",
    )
    largest_margin: float = option(0.5, "margin of the class with the fewest training images, in radians, 0 to pi/2")
    power: float = option(
        0.25,
        "how fast margins fall with the number n of training images of a class: the margin is a *"
        " n**-power + b; above 0",
    )
    scale: float = option(64.0, "factor of the cosines before the softmax, above 0")
    margins: Tensor = field(init=False)
    """(C,) float64"""

    def __post_init__(self) -> None:
        for name in ("smallest_margin", "largest_margin"):
            require_angle(name, getattr(self, name))
        if self.smallest_margin > self.largest_margin:
            raise ValueError(
                f"smallest_margin={self.smallest_margin} must not exceed largest_margin={self.largest_margin}"
            )
        require_positive("power", self.power)
        require_positive("scale", self.scale)
        margins = class_margins(self.counts, self.smallest_margin, self.largest_margin, self.power)
        object.__setattr__(self, "margins", margins)

    def logits(self, cosine: Tensor, labels: Tensor) -> Tensor:
        if cosine.ndim < 2 or cosine.shape[1] != len(self.margins):
            raise ValueError(f"cosines are {tuple(cosine.shape)}; counts have {len(self.margins)} classes")
        labels = class_labels(labels, len(cosine), len(self.margins))
        margin = self.margins[labels.clamp_min(0)]
        return arcface(sub_center(cosine), labels, margin, self.scale, monotone=True)
