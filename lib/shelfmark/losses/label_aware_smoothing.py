"""Label-aware smoothing: a target gives the more away the more images its class has. Legend: N batch, C classes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from shelfmark.losses.checks import require_one_of, require_positive
from shelfmark.losses.classification import ClassificationLoss, Targets, require_weight
from shelfmark.losses.cross_entropy import SmoothingForm
from shelfmark.losses.loss import option
from shelfmark.ops.longtail import Counts, checked_counts

SmoothingShape = Literal["concave", "linear", "convex", "exp"]


@dataclass(frozen=True, eq=False)
class LabelAwareSmoothing(ClassificationLoss):
    """Cross-entropy with label smoothing by class: the target gives eps_y away at the label y.

    smoothing_form `others`, as in the paper: eps_y / (C - 1) to each other class, 1 - eps_y to the label. `uniform`, as
    in the code that its authors published: eps_y / C to every class, the label's too, which gets 1 - eps_y besides.

    eps_y = tail + (head - tail) f(x), with x = (n_y - n_min) / (n_max - n_min) of the class counts n and f by shape:
    concave sin(pi x / 2), linear x, convex 1 - cos(pi x / 2), exp x^exponent.
    counts: (C,) training images a class. Where all have the same, eps is `head`; n_min is that of the rarest class
    with images, and a class without has `tail`.
    weight: (C,) class weights, see `ClassificationLoss`. With one class there is no other, and the loss is 0.
    Source: Zhong et al., "Improving Calibration for Long-Tailed Recognition", CVPR 2021.
    """

    counts: Counts
    head: float = option(
        0.3, "label smoothing of the class with the most training images, 0 to below 1", key="head_smoothing"
    )
    tail: float = option(
        0.0,
        "label smoothing of the class with the fewest training images, 0 to below 1",
        key="tail_smoothing",
    )
    shape: SmoothingShape = option(
        "concave",
        "curve along which the smoothing rises from the rarest class to the most frequent one: concave,"
        " linear, convex or exp (a power)",
    )
    exponent: float = option(2.0, "for shape=exp: the exponent, above 0")
    weight: Tensor | None = None
    smoothing_form: SmoothingForm = option(
        "others",
        "classes that share the probability taken from the label. others: all classes but the label, as"
        " in the paper. uniform: all classes, the label too, as in the authors' code",
    )
    smoothing: Tensor = field(init=False, repr=False)
    """(C,) float64, eps"""

    def __post_init__(self) -> None:
        for name in ("head", "tail"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 0 and below 1")
        require_one_of("shape", self.shape, get_args(SmoothingShape))
        require_one_of("smoothing_form", self.smoothing_form, get_args(SmoothingForm))
        require_positive("exponent", self.exponent)
        require_weight(self.weight)
        rise = self._rise(_places(checked_counts(self.counts)))
        object.__setattr__(self, "smoothing", self.tail + (self.head - self.tail) * rise)

    def losses(self, logits: Tensor, targets: Targets) -> Tensor:
        log_probabilities = logits.log_softmax(1)
        at_label = targets.at(log_probabilities)
        at_receivers, num_receivers = log_probabilities.sum(1, keepdim=True), logits.shape[1]
        if self.smoothing_form == "others":
            at_receivers, num_receivers = at_receivers - at_label, max(1, num_receivers - 1)
        smoothing = targets.at(self.smoothing.to(logits))
        return -(1 - smoothing) * at_label - smoothing / num_receivers * at_receivers

    def _rise(self, places: Tensor) -> Tensor:
        """f: 0 to 1 for 0 to 1."""
        if self.shape == "concave":
            return (math.pi / 2 * places).sin()
        if self.shape == "convex":
            return 1 - (math.pi / 2 * places).cos()
        return places if self.shape == "linear" else places**self.exponent


def _places(counts: Tensor) -> Tensor:
    """Where each count stands between the least, 0, and the most, 1: (C,)."""
    fewest, most = counts[counts > 0].min(), counts.max()
    return torch.where(most > fewest, (counts.clamp_min(fewest) - fewest) / (most - fewest), 1)
