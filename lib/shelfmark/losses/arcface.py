"""ArcFace: a softmax over angles, with a margin at the label. Legend: N batch, C classes, J proxies a class."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from shelfmark.losses.checks import require_positive
from shelfmark.losses.cosine_softmax import CosineSoftmax
from shelfmark.losses.loss import option
from shelfmark.ops.margins import arcface, sub_center


@dataclass(frozen=True)
class ArcFaceLoss(CosineSoftmax):
    """Cross-entropy of scale * cosine, with `margin` added to the angle between a row and the proxy of its label.

    With J proxies a class the nearest of them counts, which is sub-centre ArcFace.
    The mean is over the rows with a label; without any the loss is 0.
    Sources: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019, eq. 3;
    Deng et al., "Sub-center ArcFace: Boosting Face Recognition by Large-Scale Noisy Web Faces", ECCV 2020.
    """

    margin: float = option(0.5, "radians added to the angle between an image and its class, 0 to pi/2")
    scale: float = option(64.0, "factor of the cosines before the softmax, above 0")

    def __post_init__(self) -> None:
        require_angle("margin", self.margin)
        require_positive("scale", self.scale)

    def logits(self, cosine: Tensor, labels: Tensor) -> Tensor:
        return arcface(sub_center(cosine), labels, self.margin, self.scale, monotone=True)


def require_angle(name: str, value: float) -> None:
    """Raises a ValueError unless `value` is an angle in 0..pi/2."""
    if not 0 <= value <= math.pi / 2:
        raise ValueError(f"{name}={value} must lie in 0..{math.pi / 2:.4f}: radians, where 0.5 is 28.6 degrees")
