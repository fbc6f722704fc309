"""What is explained: the logit of a class, or how far it lies above that of another.

Legend: N batch, C classes, D embedding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from shelfmark.models.heads import Classifier, CosineClassifier
from shelfmark.models.heads.unit_rows import unit_rows


class Contrast(NamedTuple):
    """labels: (N,) int64, the answers. others: (N,), the classes that they are compared with; None for none."""

    labels: Tensor
    others: Tensor | None = None

    def of(self, values: Tensor) -> Tensor:
        """(N, C) logits to (N,): that of the label, less that of the other class."""
        own = values.gather(1, self.labels[:, None])[:, 0]
        return own if self.others is None else own - values.gather(1, self.others[:, None])[:, 0]

    def of_rows(self, rows: Tensor) -> Tensor:
        """The rows (C, ...) of a classifier's tensor, taken and subtracted likewise: (N, ...)."""
        return rows[self.labels] if self.others is None else rows[self.labels] - rows[self.others]

    def direction(self, classifier: Classifier, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D) and (N,), with which the contrast of the logits is `(direction * embedding).sum(1) + constant`.

        A cosine classifier is linear only while the length of the embedding stays what it is here.
        """
        nothing = embedding.new_zeros(len(embedding))
        if isinstance(classifier, CosineClassifier):
            # As unit_rows divides, which never divides by 0.
            length = torch.linalg.vector_norm(embedding, dim=1, keepdim=True).clamp_min(1e-6)
            return classifier.scale * self.of_rows(unit_rows(classifier.weight)) / length, nothing
        weight, bias = classifier.scoring_tensors()
        return self.of_rows(weight), nothing if bias is None else self.of_rows(bias)
