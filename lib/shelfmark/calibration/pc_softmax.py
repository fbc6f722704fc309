"""PC softmax: a classifier trained on one mixture of classes, moved to another. Legend: C classes, D embedding."""

from __future__ import annotations

from typing import Self

from torch import Tensor

from shelfmark.calibration.calibrated import Linear, copied
from shelfmark.calibration.logit_adjustment import adjusted_bias, log_prior
from shelfmark.core.types import Counts
from shelfmark.ops.longtail import sampling_probabilities


class PCSoftmax(Linear):
    """Logits z_c - ln source_c + ln target_c, with the classes' shares in training and in use. It learns from no image.

    source_counts: (C,) training images a class; a class without images is treated like the rarest class with images.
    target_prior: (C,) shares, or counts, in use; a class with 0 is never chosen (its bias_ is -inf).
    With a uniform target this is logit adjustment with tau = 1, up to a constant.
    Learned: weight_, as it was given; bias_, with the adjustment.
    Source: Hong et al., "Disentangling Label Distribution for Long-tailed Visual Recognition", CVPR 2021.
    """

    bias_: Tensor

    def __init__(self, source_counts: Counts, target_prior: Counts) -> None:
        self.source_counts = source_counts
        self.target_prior = target_prior
        if len(source_counts) != len(target_prior):
            raise ValueError(f"{len(source_counts)} source_counts, but {len(target_prior)} shares in target_prior")
        self._adjustment = sampling_probabilities(target_prior).log() - log_prior(source_counts)

    def fit(self, weight: Tensor | None = None, bias: Tensor | None = None) -> Self:
        """Takes the classifier: weight (C, D), bias (C,) or None. Without a weight, features are logits already."""
        for name, given in (("weight", weight), ("bias", bias)):
            if given is not None and len(given) != len(self._adjustment):
                raise ValueError(f"{name} {tuple(given.shape)} has not {len(self._adjustment)} classes, one a count")
        self.weight_ = copied(weight)
        self.bias_ = adjusted_bias(self._adjustment, weight, bias)
        return self
