"""Classifiers on the embedding. Legend: N batch, D embedding, C classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shelfmark.models.heads.unit_rows import unit_rows


class LinearClassifier(nn.Linear):
    """Logits w.x + b: (N, D) to (N, C). weight: (C, D). bias: (C,) or None."""

    def __init__(self, num_features: int, num_classes: int, bias: bool = True) -> None:
        super().__init__(num_features, num_classes, bias)


class CosineClassifier(nn.Module):
    """Logits scale * cos(w, x): (N, D) to (N, C). weight: (C, D), rows of any length. bias: None.

    Without the scale all logits lie in -1..1, and with 50,030 classes cross-entropy cannot fall below
    ln(1 + 50029 / e**2) = 8.82. The cosines are computed in float32 at least, whatever autocast says: bfloat16's last
    digit near 1 is 0.004, and a scale of 64 would make 0.25 of it.
    """

    bias: None

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
        with torch.autocast(embedding.device.type, enabled=False):
            return self.scale * F.linear(unit_rows(embedding), unit_rows(self.weight))

    def extra_repr(self) -> str:
        num_classes, num_features = self.weight.shape
        return f"num_features={num_features}, num_classes={num_classes}, scale={self.scale}"


Classifier = LinearClassifier | CosineClassifier
