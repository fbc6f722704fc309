"""Classifiers on the embedding. Legend: N batch, D embedding, C classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shelfmark.models.full_precision import full_precision
from shelfmark.models.heads.unit_rows import unit_rows

CLASS_FACTORS = "class_scale"
"""The name of the class factors in checkpoints. A state_dict with this name makes them in the classifier."""


class LinearClassifier(nn.Linear):
    """Logits w.x + b: (N, D) to (N, C). weight: (C, D). bias: (C,) or None.

    class_scale: (C,) factors of the classes' logits, s (w.x + b), or None. A network with factors learns these instead
    of weight and bias: LWS of Kang et al. 2020. They multiply the bias too, as in `calibration.LWS`.
    """

    class_scale: nn.Parameter | None

    def __init__(self, num_features: int, num_classes: int, bias: bool = True) -> None:
        super().__init__(num_features, num_classes, bias)

    def reset_parameters(self) -> None:
        """First weights as of a new classifier, drawn from torch's generator; there are no class factors."""
        self.register_parameter(CLASS_FACTORS, None)
        super().reset_parameters()

    def add_class_factors(self) -> None:
        """Gives every class a factor of 1, where there are none yet."""
        if self.class_scale is None:
            self.class_scale = nn.Parameter(torch.ones_like(self.weight[:, 0]))

    def fold_class_factors(self) -> None:
        """Multiplies the factors into weight and bias, and removes them. The logits stay the same to the last digit."""
        if self.class_scale is None:
            return
        with torch.no_grad():
            weight, bias = self.scoring_tensors()
            self.weight.copy_(weight)
            if bias is not None:
                self.bias.copy_(bias)
        self.class_scale = None

    def scoring_tensors(self) -> tuple[Tensor, Tensor | None]:
        """Weight (C, D) and bias (C,) or None, with the class factors multiplied in."""
        if self.class_scale is None:
            return self.weight, self.bias
        factors = self.class_scale
        return factors[:, None] * self.weight, None if self.bias is None else factors * self.bias

    def forward(self, embedding: Tensor) -> Tensor:
        # Weight and bias are scaled, not the logits, so that a folded classifier computes the same digits.
        return F.linear(embedding, *self.scoring_tensors())

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        if f"{prefix}{CLASS_FACTORS}" in state_dict:
            self.add_class_factors()
        else:
            self.class_scale = None
        super()._load_from_state_dict(state_dict, prefix, *args)


class CosineClassifier(nn.Module):
    """Logits scale * cos(w, x): (N, D) to (N, C). weight: (C, D), rows of any length. bias: None.

    Without the scale all logits lie in -1..1, and with 50,030 classes cross-entropy cannot fall below
    ln(1 + 50029 / e**2) = 8.82. The cosines are computed in float32 at least, whatever autocast says: bfloat16's last
    digit near 1 is 0.004, and a scale of 64 would make 0.25 of it.
    """

    bias: None
    class_scale: None = None

    def __init__(self, num_features: int, num_classes: int, scale: float = 16.0) -> None:
        super().__init__()
        # A direction drawn uniformly, of length 1: the gradient shrinks with the length of the row.
        self.weight = nn.Parameter(unit_rows(torch.randn(num_classes, num_features)))
        self.register_parameter("bias", None)
        self.scale = scale

    def reset_parameters(self) -> None:
        """First weights as of a new classifier, drawn from torch's generator."""
        with torch.no_grad():
            self.weight.copy_(unit_rows(torch.randn(self.weight.shape)))

    def forward(self, embedding: Tensor) -> Tensor:
        with full_precision(embedding.device):
            return self.scale * F.linear(unit_rows(embedding), unit_rows(self.weight))

    def extra_repr(self) -> str:
        num_classes, num_features = self.weight.shape
        return f"num_features={num_features}, num_classes={num_classes}, scale={self.scale}"


Classifier = LinearClassifier | CosineClassifier
