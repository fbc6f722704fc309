"""Scores of a classifier, from logits or from stored features. Legend: N images, C classes, D embedding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from shelfmark.core.types import Array, Counts
from shelfmark.ops.calibration_metrics import top_probability
from shelfmark.ops.class_metrics import ClassCounts, Scores

_BLOCK_LOGITS = 1 << 24  # 64 MB of float32 logits at a time


def scores(logits: Array, labels: Array, counts: Counts | None = None, many: int = 100, few: int = 20) -> Scores:
    """The scores of summary.json, as fractions; None where no class can be scored.

    logits: (N, C). labels: (N,), -1 leaves an image out. counts: (C,) training images a class, for
    many (more than `many`), few (fewer than `few`) and medium (the rest). Formulas: docs/definitions.md.
    """
    logits = torch.as_tensor(logits)
    class_counts = ClassCounts(logits.shape[1])
    class_counts.add(logits, torch.as_tensor(labels))
    return class_counts.scores(counts, many, few)


@dataclass(frozen=True, eq=False)
class Predictions:
    """A classifier's predictions for N images, and the counts of each class.

    labels: (N,) int64, -1 where there is none. predicted: (N,) int64, of equal logits the lower class.
    confidence: (N,) float64, the predicted class's probability. places: (N,) int64, the label's place among the logits:
    0 is right, 5 stands for all places behind the fifth; -1 without a label. class_counts: of the labelled images.
    """

    labels: Tensor
    predicted: Tensor
    confidence: Tensor
    places: Tensor
    class_counts: ClassCounts


def predict_from_features(
    features: Array,
    labels: Array,
    logits: Callable[[Tensor], Tensor],
    num_classes: int,
    device: torch.device | str = "cpu",
    block_logits: int = _BLOCK_LOGITS,
) -> Predictions:
    """The predictions of a classifier on stored features (N, D), without N x C logits in memory.

    logits: features (n, D) float32 on `device` to logits (n, C). labels: (N,), -1 leaves an image out of the counts.
    block_logits: how many are in memory at a time; their probabilities take four times as much.
    """
    labels = torch.as_tensor(labels)
    if len(labels) != len(features):
        raise ValueError(f"{len(features)} features and {len(labels)} labels")
    predicted = torch.empty(len(labels), dtype=torch.int64)
    confidence = torch.empty(len(labels), dtype=torch.float64)
    places = torch.full((len(labels),), -1, dtype=torch.int64)
    class_counts = ClassCounts(num_classes)
    block_rows = max(1, block_logits // num_classes)
    for start in range(0, len(features), block_rows):
        rows = slice(start, start + block_rows)
        found = logits(torch.as_tensor(features[rows]).to(device, torch.float32))
        places[rows] = class_counts.add(found, labels[rows])
        sure, best = top_probability(found)
        confidence[rows], predicted[rows] = sure.cpu(), best.cpu()
    return Predictions(labels, predicted, confidence, places, class_counts)
