"""Circle loss over classes: a softmax whose logits learn at their own pace. Legend: N batch, C classes, J proxies."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from shelfmark.losses.checks import require_positive
from shelfmark.losses.cosine_softmax import CosineSoftmax
from shelfmark.losses.loss import option
from shelfmark.ops.margins import circle, sub_center


@dataclass(frozen=True)
class CircleSoftmaxLoss(CosineSoftmax):
    """Cross-entropy of the logits of circle loss: the further a cosine is from its aim, the harder it is pulled.

    The aims are 1 + margin at the label and -margin elsewhere. With J proxies a class the nearest of them counts.
    scale is 256 in the paper for class proxies; fast-reid takes 128.
    Source: Sun et al., "Circle Loss: A Unified Perspective of Pair Similarity Optimization", CVPR 2020, eq. 4-8.
    """

    margin: float = option(
        0.25,
        "the cosine with the label's class is pulled to 1 + margin, cosines with other classes to"
        " -margin; between -1 and 1",
    )
    scale: float = option(256.0, "factor of the logits before the softmax, above 0")

    def __post_init__(self) -> None:
        if not -1 < self.margin < 1:
            raise ValueError(f"margin={self.margin} must lie within -1..1; usual is 0.25")
        require_positive("scale", self.scale)

    def logits(self, cosine: Tensor, labels: Tensor) -> Tensor:
        return circle(sub_center(cosine), labels, self.margin, self.scale)
