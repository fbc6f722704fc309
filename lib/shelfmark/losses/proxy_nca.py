"""ProxyNCA++: a softmax over distances to class proxies. Legend: N batch, C classes, J proxies a class."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from shelfmark.losses.checks import require_positive
from shelfmark.losses.cosine_softmax import CosineSoftmax
from shelfmark.losses.loss import option
from shelfmark.ops.margins import sub_center
from shelfmark.ops.similarity import compute_dtype


@dataclass(frozen=True)
class ProxyNCALoss(CosineSoftmax):
    """-ln of the softmax, at the label, of -d^2 / temperature, with d the distance of unit vectors from proxies.

    As d^2 = 2 - 2 cosine, this is cross-entropy of 2 * cosine / temperature. All classes stand in the denominator, the
    label's too: the softmax form, which ProxyNCA++ improved on ProxyNCA. With J proxies a class the nearest counts.
    Source: Teh, DeVries, Taylor, "ProxyNCA++: Revisiting and Revitalizing Proxy Neighborhood Component Analysis", ECCV
    2020.
    """

    temperature: float = option(
        1 / 9, "divisor of the squared distances before the softmax. The smaller, the sharper the softmax; above 0"
    )

    def __post_init__(self) -> None:
        require_positive("temperature", self.temperature)

    def logits(self, cosine: Tensor, labels: Tensor) -> Tensor:
        return 2 / self.temperature * sub_center(cosine).to(compute_dtype(cosine))
