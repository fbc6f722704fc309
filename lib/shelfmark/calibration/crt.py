"""Classifier re-training: a fresh linear classifier on fixed features, with all classes equally frequent.

Legend: N images, C classes, D embedding.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from shelfmark.calibration.balanced import BalancedTraining
from shelfmark.calibration.calibrated import Linear, blocks
from shelfmark.calibration.folds import labelled
from shelfmark.core.types import Array
from shelfmark.ops.similarity import compute_dtype, dot_products


class CRT(Linear):
    """Logits w_c . x + b_c, learned from zeros on training features by class-balanced cross-entropy.

    Options: see `BalancedTraining`. As in the paper: SGD with momentum 0.9, a cosine rate, 10 epochs, batches of 512.
    Unlike in the paper, the features have mean 0 and length 1 (root mean square) during the training, so that one rate
    serves all features; there is no weight decay; and a small set gets 500 steps at least. weight_ and bias_ are
    converted back to the original features. A class without images is learned as an answer that is never right.

    Learned: weight_ (C, D), bias_ (C,).
    Source: Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR 2020, section 4.
    """

    weight_: Tensor
    bias_: Tensor

    def __init__(
        self, num_epochs: int = 10, min_steps: int = 500, batch_size: int = 512, lr: float = 1.0, seed: int = 0
    ) -> None:
        self.training = BalancedTraining(
            num_epochs=num_epochs, min_steps=min_steps, batch_size=batch_size, lr=lr, seed=seed
        )

    def fit(
        self,
        features: Array,
        labels: Array,
        num_classes: int | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """features: (N, D), training images. labels: (N,), -1 leaves an image out.

        num_classes: C, by default the greatest label + 1. device: where it computes, by default where the features are.
        """
        features, labels = labelled(features, labels, None, num_classes, "cRT")
        num_classes = int(labels.max()) + 1 if num_classes is None else num_classes
        like = torch.as_tensor(features[:1])
        like = like.to(device or like.device, compute_dtype(like))
        centre, length = _centre_and_length(features, like)
        weight = like.new_zeros(num_classes, like.shape[1]).requires_grad_()
        bias = like.new_zeros(num_classes).requires_grad_()

        def logits(rows: Tensor) -> Tensor:
            return dot_products((rows - centre) / length, weight) + bias

        # The features have a mean square of 1, and so has the factor of the bias, which is 1.
        self.training.run("crt", [weight, bias], logits, 2.0, features, labels, num_classes)
        self.weight_ = weight.detach() / length
        self.bias_ = bias.detach() - self.weight_ @ centre
        return self


def _centre_and_length(features: Array, like: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (D,) of the features, and the root mean square of their distance to it; 1 where all are the same."""
    num_rows, dim = features.shape
    total = torch.zeros(dim, dtype=torch.float64, device=like.device)
    for block in blocks(num_rows, dim):
        total += torch.as_tensor(features[block]).to(like.device).double().sum(dim=0)
    centre = total / num_rows
    square = torch.zeros((), dtype=torch.float64, device=like.device)
    for block in blocks(num_rows, dim):
        square += (torch.as_tensor(features[block]).to(like.device).double() - centre).square().sum()
    length = (square / num_rows).sqrt()
    return centre.to(like), torch.where(length > 0, length, 1).to(like)
