"""Rows of a classifier for new classes, from the mean embeddings of a few pictures, at the scale of the other rows.

Legend: N images, n rows, C classes, D embedding, X experts. Source of the idea: Qi, Brown and Lowe, "Low-Shot Learning
with Imprinted Weights", CVPR 2018, whose rows are the mean directions. Behind a ReLU all features point the same way,
and trained rows have learned to leave this way out: beside them a row that is the mean itself scores highest for
pictures of any class. So here a row is made of what a class has beside the others' centre.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from shelfmark.calibration.calibrated import blocks
from shelfmark.calibration.ncm import NearestClassMean
from shelfmark.core.errors import UserError
from shelfmark.core.types import Array

# A cosine with the centre of 1 would leave a row nothing of its own.
_MOST_ALONG = 0.99


class Imprinting:
    """A row w for a class with mean embedding m, beside old classes whose mean embeddings have the mean c.

    Linear classifier: w = l (m - c) / |m - c|, with the bias that lets w.x + b be, on average over pictures of other
    classes, what an old class scores there. l is the mean length of the other rows, times the factor with which rows
    made in this way for the old classes, each without the picture that it scores, would raise a class over the others
    as far as the trained rows do. Without a bias, w has a part along c that takes its place. With X experts, which
    share a linear classifier, l and the direction are those of each expert's block of w.
    Cosine classifier: embeddings are of length 1, w has the mean length of the other rows, and lies between c and the
    direction in which m leaves it, so that its mean cosine with pictures of other classes is that of an old class.

    Learned: centre_ (D,); lengths_ (X,); level_, the mean score of an old class on pictures of others; factor_.
    """

    centre_: Tensor
    lengths_: Tensor
    level_: float
    factor_: float

    def __init__(self, cosine_scale: float | None = None, num_experts: int = 1) -> None:
        """cosine_scale: the factor of the cosines; None for a linear classifier."""
        self.cosine_scale, self.num_experts = cosine_scale, num_experts

    def fit(self, weight: Tensor, bias: Tensor | None, features: Array, labels: Array) -> Self:
        """weight (C, D) and bias (C,) or None: of the old classes. features (N, D), labels (N,): pictures of at least
        two of them, best not those that the classifier was trained on; -1 leaves one out."""
        _require_two(labels)
        weight, is_cosine = weight.detach().cpu().double(), self.cosine_scale is not None
        self._has_bias = bias is not None
        self.lengths_ = self._blocks_of(weight).norm(dim=2).mean(dim=0)
        fitted = NearestClassMean("l2" if is_cosine else "plain").fit(features, labels, len(weight))
        seen = (fitted.num_images_ > 0).nonzero()[:, 0].cpu()
        means = fitted.means_.cpu().double()[seen]
        self.centre_ = means.mean(dim=0)
        rows = F.normalize(weight[seen], dim=1) if is_cosine else weight[seen]
        biases = torch.zeros(len(seen)).double() if bias is None else bias.detach().cpu().double()[seen]
        own = (means * rows).sum(dim=1) + biases
        on_others = (len(seen) * (rows @ self.centre_ + biases) - own) / (len(seen) - 1)
        self.level_, self.factor_ = float(on_others.mean()), 1.0
        if not is_cosine:
            self._fit_factor(float((own - on_others).mean()), features, torch.as_tensor(labels).cpu(), fitted)
        return self

    def _fit_factor(self, trained: float, features: Array, labels: Tensor, fitted: NearestClassMean) -> None:
        """trained: how far the trained rows raise a class over the others, on average over the classes."""
        means, counts = fitted.means_.cpu().double(), fitted.num_images_.cpu()
        num_seen = int((counts > 0).sum())
        sums = torch.zeros(len(counts)).double()
        rows = ((labels >= 0) & (counts[labels.clamp_min(0)] > 1)).nonzero()[:, 0]
        for block in blocks(len(rows), means.shape[1]):
            part = rows[block]
            x, label = torch.as_tensor(features[part.numpy()]).cpu().double(), labels[part]
            others = without_own(x, means[label], counts[label])
            made = self._directions(others)
            # The scores of all classes' means sum to 0 about the centre, so those of the others follow from its own.
            on_others = -(made * (others - self.centre_)).sum(dim=1) / (num_seen - 1)
            sums.index_add_(0, label, (made * (x - self.centre_)).sum(dim=1) - on_others)
        several = counts > 1
        imprinted = float((sums[several] / counts[several]).mean()) if several.any() else 0.0
        # Where pictures of one class are no nearer to each other than to others, there is no scale to be had.
        self.factor_ = trained / imprinted if trained > 0 and imprinted > 0 else 1.0

    def seen(self, features: Array) -> Tensor:
        """(n, D) float64: the features as their means are taken, of length 1 for a cosine classifier."""
        rows = torch.as_tensor(features).cpu().double()
        return rows if self.cosine_scale is None else F.normalize(rows, dim=1)

    def rows(self, means: Tensor) -> tuple[Tensor, Tensor | None]:
        """Weight (n, D) and bias (n,) or None for classes with these means (n, D) of what `seen` gives; float64."""
        tiny = torch.finfo(torch.float64).tiny
        if self.cosine_scale is not None:
            centre = F.normalize(self.centre_, dim=0)
            leaving = F.normalize(means - (means @ centre)[:, None] * centre, dim=1)
            along = self.level_ / self.centre_.norm().clamp_min(tiny)
            along = along.clamp(-_MOST_ALONG, _MOST_ALONG)
            return self.lengths_[0] * (along * centre + (1 - along.square()).sqrt() * leaving), None
        weight = self.factor_ * self._directions(means)
        bias = self.level_ - weight @ self.centre_
        if self._has_bias:
            return weight, bias
        return weight + bias[:, None] * self.centre_ / self.centre_.square().sum().clamp_min(tiny), None

    def scores(self, means: Tensor, seen: Tensor) -> Tensor:
        """(n,) the logit of each row of `seen` (n, D) for the class of the same row of means (n, D)."""
        weight, bias = self.rows(means)
        if self.cosine_scale is not None:
            return self.cosine_scale * (F.normalize(weight, dim=1) * seen).sum(dim=1)
        return (weight * seen).sum(dim=1) + (0 if bias is None else bias)

    def _directions(self, means: Tensor) -> Tensor:
        """Rows (n, D) with the mean length of the others', in each expert's block."""
        units = F.normalize(self._blocks_of(means - self.centre_), dim=2)
        return (self.lengths_[:, None] * units).flatten(1)

    def _blocks_of(self, rows: Tensor) -> Tensor:
        return rows.unflatten(1, (self.num_experts, -1))


def without_own(rows: Tensor, means: Tensor, counts: Tensor) -> Tensor:
    """The mean of each row's class (n, D) without the row itself (n, D). counts: (n,) of the classes, at least 2."""
    return means + (means - rows) / (counts[:, None] - 1)


def _require_two(labels: Array) -> None:
    known = np.unique(np.asarray(torch.as_tensor(labels).cpu()))
    num_classes = int((known >= 0).sum())
    if num_classes < 2:
        raise UserError(
            "the row of a new class gets its scale from pictures of at least two old classes; there are pictures of"
            f" {num_classes}. Give more, as data.val_json=FILE."
        )
