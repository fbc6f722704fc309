"""CosFace: a softmax over cosines, with a margin at the label. Legend: N batch, C classes, J proxies a class."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from shelfmark.losses.checks import require_positive
from shelfmark.losses.cosine_softmax import CosineSoftmax
from shelfmark.losses.loss import option
from shelfmark.ops.margins import cosface, sub_center


@dataclass(frozen=True)
class CosFaceLoss(CosineSoftmax):
    """Cross-entropy of scale * cosine, with `margin` subtracted from the cosine of a row with the proxy of its label.

    With J proxies a class the nearest of them counts.
    Source: Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", CVPR 2018, eq. 4.
    """

    margin: float = option(0.35, "number subtracted from the cosine between an image and its class, 0 to 2")
    scale: float = option(64.0, "factor of the cosines before the softmax, above 0")

    def __post_init__(self) -> None:
        if not 0 <= self.margin <= 2:
            raise ValueError(f"margin={self.margin} must lie in 0..2, as the cosines lie in -1..1; usual is 0.35")
        require_positive("scale", self.scale)

    def logits(self, cosine: Tensor, labels: Tensor) -> Tensor:
        return cosface(sub_center(cosine), labels, self.margin, self.scale)
