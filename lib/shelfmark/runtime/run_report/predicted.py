"""What the classifier says of val's images, or of a sample of them. Legend: n images, C classes, D embedding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import release_pages
from shelfmark.core.rng import numpy_generator
from shelfmark.evaluation.classification import predict_from_features
from shelfmark.runtime.trained_model import TrainedModel

MOST_PRODUCTS = 6e11
"""Multiplications of a pass over the features: a minute of one core."""
# A report is made beside other work: a block takes 40 MB.
_BLOCK_LOGITS = 1 << 21
_BLOCK_ROWS = 8192


@dataclass(frozen=True, eq=False)
class Predicted:
    """Of n labelled images: rows (n,) of the table, labels and predicted (n,) int64, confidence (n,) in 0..1.

    total: the labelled images of which n were drawn.
    """

    rows: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    total: int

    @property
    def is_right(self) -> np.ndarray:
        """(n,) bool."""
        return self.labels == self.predicted


def predicted(model: TrainedModel, features: Embeddings, most_products: float = MOST_PRODUCTS) -> Predicted:
    """The predictions for all labelled images, or for as many as most_products allows, drawn by the run's seed."""
    places = np.flatnonzero(features.labels >= 0)
    total = len(places)
    most = max(1, int(most_products / (model.num_classes * features.features.shape[1])))
    most = min(total, most)
    if total > most:
        places = np.sort(numpy_generator(model.recipe.seed, "report").choice(places, most, replace=False))
    blocks = [_of_block(model, features, places[start : start + _BLOCK_ROWS]) for start in range(0, most, _BLOCK_ROWS)]
    answers, confidence = (np.concatenate(parts) for parts in zip(*blocks))
    return Predicted(features.rows[places], features.labels[places], answers, confidence, total)


def _of_block(model: TrainedModel, features: Embeddings, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with torch.inference_mode():
        found = predict_from_features(
            features.features[places],
            features.labels[places],
            model.network.logits,
            model.num_classes,
            model.precision.device,
            _BLOCK_LOGITS,
        )
    release_pages(features.features)
    return found.predicted.numpy(), found.confidence.numpy()
