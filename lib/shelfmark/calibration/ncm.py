"""Nearest class mean: an image belongs to the class whose mean feature is closest.

Legend: N images, C classes, D embedding. Source: Kang et al., "Decoupling Representation and Classifier for
Long-Tailed Recognition", ICLR 2020, section 4; the centred form after Wang et al., "SimpleShot", 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from shelfmark.calibration.calibrated import Calibrated, blocks
from shelfmark.calibration.folds import labelled
from shelfmark.core.errors import UserError, choose
from shelfmark.core.types import Array
from shelfmark.ops.similarity import compute_dtype, dot_products

FORMS = ("plain", "l2", "centred_l2")


class NearestClassMean(Calibrated):
    """Scores -|x - m_c|^2 by the class means m_c of training features.

    form: `plain` takes features x as they are; `l2` divides each by its length first; `centred_l2` subtracts the mean
    of all training features, then divides by the length. The means are not normalised again. A feature of zeros
    stays zero. A class without images is never chosen: its scores are -inf.

    Learned: means_ (C, D), zeros for a class without images; num_images_ (C,) int64; centre_ (D,), the training mean.
    `plain` is a linear classifier, weight_ = 2 m_c and bias_ = -|m_c|^2 (-inf without images), whose logits are the
    scores plus |x|^2, the same for all classes. The other forms normalise first and have no weight_ or bias_.
    """

    means_: Tensor
    num_images_: Tensor
    centre_: Tensor

    def __init__(self, form: str = "plain") -> None:
        self.form = choose("form", form, FORMS)

    def fit(self, features: Array, labels: Array, num_classes: int | None = None) -> Self:
        """features: (N, D), training images. labels: (N,), -1 leaves an image out.

        num_classes: C, by default the greatest label + 1. Summed in float64, on the features' device; the means are
        float64 for float64 features, else float32.
        """
        features, labels = labelled(features, labels, None, num_classes, "nearest class mean")
        dtype = compute_dtype(torch.as_tensor(features[:1]))
        total = _class_sums(features, torch.zeros_like(labels), 1)
        self.centre_ = (total[0] / len(labels)).to(dtype)
        if not self.centre_.isfinite().all():
            raise UserError("nearest class mean: the features hold NaN or infinity. Take an earlier checkpoint.")
        self.num_images_ = torch.bincount(labels, minlength=num_classes or 0).to(total.device)
        sums = _class_sums(features, labels, len(self.num_images_), self._normalized)
        self.means_ = (sums / self.num_images_.clamp_min(1)[:, None]).to(dtype)
        # Computed near the training mean: far from the origin the three terms of |x - m|^2 would cancel.
        self._origin = self.centre_ if self.form == "plain" else torch.zeros_like(self.centre_)
        self._moved_means = self.means_ - self._origin
        self._squares = self._moved_means.square().sum(dim=1).masked_fill(self.num_images_ == 0, torch.inf)
        return self

    def scores(self, features: Array) -> Tensor:
        """(n, C) -|x - m_c|^2, in blocks on the means' device; -inf for a class without images. features: (n, D)."""
        if features.ndim != 2 or features.shape[1] != self.means_.shape[1]:
            raise ValueError(f"features {tuple(features.shape)} and means {tuple(self.means_.shape)} differ in width")
        scores = self.means_.new_empty(len(features), len(self.means_))
        for block in blocks(len(features), len(self.means_)):
            rows = self._normalized(torch.as_tensor(features[block]).to(self.means_)) - self._origin
            torch.mul(dot_products(rows, self._moved_means), 2, out=scores[block])
            scores[block].sub_(self._squares).sub_(rows.square().sum(dim=1, keepdim=True))
        return scores.clamp_(max=0)

    def logits(self, features: Array) -> Tensor:
        """The scores."""
        return self.scores(features)

    @property
    def weight_(self) -> Tensor:
        """(C, D) rows of the linear classifier that chooses the same classes; a UserError where there is none."""
        self._require_linear()
        return 2 * self.means_

    @property
    def bias_(self) -> Tensor:
        """(C,), to go with `weight_`."""
        self._require_linear()
        return -self.means_.square().sum(dim=1).masked_fill(self.num_images_ == 0, torch.inf)

    def _require_linear(self) -> None:
        if self.form != "plain":
            raise UserError(
                f"the {self.form} form of the nearest class mean normalises each feature first, which no linear "
                "classifier does, so it cannot be stored as one. Use form=plain."
            )

    def _normalized(self, features: Tensor) -> Tensor:
        if self.form == "plain":
            return features
        return F.normalize(features - self.centre_.to(features) if self.form == "centred_l2" else features, dim=1)


def _class_sums(
    features: Array, labels: Tensor, num_classes: int, normalized: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """(C, D) float64 sum of the features of each class, after `normalized`."""
    device = features.device if isinstance(features, Tensor) else torch.device("cpu")
    sums = torch.zeros(num_classes, features.shape[1], dtype=torch.float64, device=device)
    for block in blocks(len(labels), features.shape[1]):
        rows = torch.as_tensor(features[block]).double()
        sums.index_add_(0, labels[block].to(device), rows if normalized is None else normalized(rows))
    return sums
