"""SoftTriple: a softmax over classes with several centres each. Legend: N batch, C classes, J centres, D embedding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from shelfmark.losses.checks import require_not_negative, require_positive
from shelfmark.losses.cross_entropy import CrossEntropy
from shelfmark.losses.loss import HeadOutput, Loss, option
from shelfmark.ops.labelled import LabelledRows, labelled_rows
from shelfmark.ops.margins import cosface
from shelfmark.ops.proxies import proxy_cosines, require_proxies, unit_proxies
from shelfmark.ops.similarity import full_precision

_SMALLEST_SQUARED_DISTANCE = 1e-12


@dataclass(frozen=True)
class SoftTripleLoss(Loss):
    """Cross-entropy of scale * similarity with the classes, and tau * the mean distance between a class's centres.

    A class's similarity is the mean of a vector's cosines with its J centres, weighted by their softmax at temperature
    gamma; the label's is `margin` smaller than it is. The second part lets superfluous centres merge; it is the sum of
    the distances of each pair of unit centres over C J (J - 1), 0 where J is 1.
    The mean of the first part is over the rows with a label; without any it is 0. See docs/losses.md.
    Source: Qian et al., "SoftTriple Loss: Deep Metric Learning Without Triplet Sampling", ICCV 2019, eq. 7
    and 8 and the regulariser for an adaptive number of centres.
    """

    adds_over_rows: ClassVar[bool] = True
    consumes: ClassVar[HeadOutput] = "proxies"

    scale: float = option(20.0, "factor of the similarities before the softmax, above 0")
    gamma: float = option(
        0.1,
        "temperature of the softmax over the centres of a class. The smaller, the more the nearest centre"
        " counts; above 0",
    )
    margin: float = option(0.01, "number subtracted from the similarity between an image and its class, 0 or above")
    tau: float = option(
        0.2,
        "weight of the mean distance between the centres of a class. It makes centres merge that are not"
        " needed; 0 or above",
    )

    def __post_init__(self) -> None:
        require_positive("scale", self.scale)
        require_positive("gamma", self.gamma)
        require_not_negative("margin", self.margin)
        require_not_negative("tau", self.tau)

    def __call__(self, vectors: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
        """0-dim. vectors: (N, D), weight: (C, J, D), of any length. labels: (N,) whole numbers, -1 where there is none.

        UserError: a row with a label that is not finite; on a GPU, which is not waited for, the loss is NaN instead.
        """
        batch = self._with_logits(vectors, labels, weight, raises=labels.device.type == "cpu")
        return CrossEntropy().mean(batch) + self._spread(weight)

    def over_ranks(self, vectors: Tensor, labels: Tensor, weight: Tensor, step: int = 0) -> Tensor:
        """The loss of the batch of all processes, 0-dim: see `CrossEntropy.over_ranks`."""
        batch = self._with_logits(vectors, labels, weight, raises=False)
        return CrossEntropy().mean_over_ranks(batch) + self._spread(weight)

    def _with_logits(self, vectors: Tensor, labels: Tensor, weight: Tensor, raises: bool) -> LabelledRows:
        require_proxies(vectors, weight)
        batch = labelled_rows(vectors, labels, "vectors", len(weight), raises=raises)
        logits = cosface(self._similarity(batch.rows, weight), batch.labels, self.margin, self.scale)
        return replace(batch, rows=logits)

    def _spread(self, weight: Tensor) -> Tensor:
        return self.tau * _mean_distance_between(unit_proxies(weight))

    def _similarity(self, vectors: Tensor, weight: Tensor) -> Tensor:
        """(N, C)."""
        cosines = proxy_cosines(vectors, weight)
        if cosines.ndim == 2:
            return cosines
        return ((cosines / self.gamma).softmax(2) * cosines).sum(2)


def _mean_distance_between(centres: Tensor) -> Tensor:
    """Half the mean distance of two centres of a class: (C, J, D) of length 1 to a 0-dim tensor."""
    num_classes, num_centres, _ = centres.shape
    if num_centres == 1:
        return centres.new_zeros(())
    first, second = torch.triu_indices(num_centres, num_centres, offset=1, device=centres.device)
    with full_precision(centres.device):
        products = (centres @ centres.mT)[:, first, second]
    # The slope of a distance of 0 would be without bound.
    distances = (2 - 2 * products).clamp_min(_SMALLEST_SQUARED_DISTANCE).sqrt()
    return distances.sum() / (num_classes * num_centres * (num_centres - 1))
