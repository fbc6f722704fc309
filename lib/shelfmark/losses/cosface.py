"""CosFace: a softmax over cosines, with a margin at the label. Legend: N batch, C classes, K proxies a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from shelfmark.losses.checks import require_positive
from shelfmark.losses.config import LossContext
from shelfmark.losses.cosine_softmax import CosineSoftmax, CosineSoftmaxConfig
from shelfmark.ops.margins import cosface, sub_center


@dataclass(frozen=True)
class CosFaceLoss(CosineSoftmax):
    """Cross-entropy of scale * cosine, in which the cosine with the label's proxy is `margin` smaller than it is.

    With K proxies a class the nearest of them counts. margin: 0..2.
    Source: Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", CVPR 2018, eq. 4.
    """

    margin: float = 0.35
    scale: float = 64.0

    def __post_init__(self) -> None:
        if not 0 <= self.margin <= 2:
            raise ValueError(f"margin={self.margin} must lie in 0..2, as the cosines lie in -1..1; usual is 0.35")
        require_positive("scale", self.scale)

    def logits(self, cosine: Tensor, labels: Tensor) -> Tensor:
        return cosface(sub_center(cosine), labels, self.margin, self.scale)


@dataclass(frozen=True, kw_only=True)
class CosFaceConfig(CosineSoftmaxConfig):
    """`{name: cosface, head: ...}`"""

    name: Literal["cosface"] = "cosface"
    margin: float = 0.35
    """what is taken off the cosine at the label, 0 to 2"""
    scale: float = 64.0
    """factor of the cosines in the softmax"""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._loss()

    def build(self, context: LossContext) -> CosFaceLoss:
        return self._loss()

    def _loss(self) -> CosFaceLoss:
        return CosFaceLoss(self.margin, self.scale)
