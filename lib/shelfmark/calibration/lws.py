"""Learnable weight scaling: one learned factor for each class's logit. Legend: N images, C classes, D embedding."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from shelfmark.calibration.balanced import BalancedTraining
from shelfmark.calibration.calibrated import Linear, blocks, copied
from shelfmark.calibration.folds import labelled
from shelfmark.core.errors import UserError
from shelfmark.core.types import Array
from shelfmark.ops.similarity import compute_dtype


class LWS(Linear):
    """Logits s_c (w_c . x + b_c): scales s from ones, by class-balanced cross-entropy on training features.

    A scale multiplies the bias too, as in the authors' code; the paper's classifier has no bias. Weights and biases do
    not learn. The scale of a class without images learns too, to keep its logit low. Options: see `BalancedTraining`;
    lr is lower than for a fresh classifier: once all training images are right, larger scales lower the loss without
    end.

    Learned: scales_ (C,); weight_ (C, D) and bias_ (C,) or None, scaled.
    Source: Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR 2020, section 4.
    """

    scales_: Tensor
    weight_: Tensor

    def __init__(
        self, num_epochs: int = 10, min_steps: int = 500, batch_size: int = 512, lr: float = 0.3, seed: int = 0
    ) -> None:
        self.training = BalancedTraining(
            num_epochs=num_epochs, min_steps=min_steps, batch_size=batch_size, lr=lr, seed=seed
        )

    def fit(self, features: Array, labels: Array, weight: Tensor, bias: Tensor | None = None) -> Self:
        """features: (N, D), training images. labels: (N,), -1 leaves an image out. Computed on the weight's device."""
        num_classes, dim = weight.shape
        features, labels = labelled(features, labels, dim, num_classes, "LWS")
        unscaled = Linear(weight.detach().to(compute_dtype(weight)), copied(bias))
        scales = torch.ones(num_classes, dtype=compute_dtype(weight), device=weight.device).requires_grad_()
        self.training.run(
            "lws",
            [scales],
            lambda rows: unscaled.logits(rows) * scales,
            _mean_greatest_square(unscaled, features, num_classes),
            features,
            labels,
            num_classes,
        )
        self.scales_ = scales.detach()
        self.weight_ = (weight.detach() * self.scales_[:, None]).to(weight)
        self.bias_ = None if bias is None else (bias.detach() * self.scales_).to(bias)
        return self


def _mean_greatest_square(classifier: Linear, features: Array, num_classes: int) -> float:
    """The mean over images of their greatest squared logit."""
    total = 0.0
    for block in blocks(len(features), num_classes):
        total += float(classifier.logits(features[block]).abs().amax(dim=1).double().square().sum())
    if not total < torch.inf:
        raise UserError("LWS: features or weights hold NaN or infinity. Take an earlier checkpoint.")
    return total / len(features) or 1.0
