"""Scores of a classifier, from logits or from stored features. Legend: N images, C classes, D embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from shelfmark.core.csv_lines import line_feed_writer
from shelfmark.core.files import atomic_path
from shelfmark.core.strings import Strings
from shelfmark.core.text_safety import spreadsheet_cell
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
    confidence: (N,) float64, the predicted class's probability. class_counts: of the labelled images.
    """

    labels: Tensor
    predicted: Tensor
    confidence: Tensor
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
    class_counts = ClassCounts(num_classes)
    block_rows = max(1, block_logits // num_classes)
    for start in range(0, len(features), block_rows):
        rows = slice(start, start + block_rows)
        found = logits(torch.as_tensor(features[rows]).to(device, torch.float32))
        class_counts.add(found, labels[rows])
        sure, best = top_probability(found)
        confidence[rows], predicted[rows] = sure.cpu(), best.cpu()
    return Predictions(labels, predicted, confidence, class_counts)


def write_per_class(
    path: Path,
    class_counts: ClassCounts,
    train_counts: Counts | None = None,
    class_names: Sequence[str] | Strings | None = None,
) -> None:
    """Writes per_class.csv: one row a class. Unknown values, and the accuracy of a class without images, are empty."""
    for what, given in (("class names", class_names), ("training counts", train_counts)):
        if given is not None and len(given) != class_counts.num_classes:
            raise ValueError(f"{len(given)} {what} for {class_counts.num_classes} classes")
    totals, corrects = class_counts.total.tolist(), class_counts.correct.tolist()
    with (
        atomic_path(path) as beside,
        open(beside, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        writer = line_feed_writer(stream)
        writer.writerow(["class_id", "class_name", "train_images", "val_images", "correct", "accuracy"])
        for label, (total, correct) in enumerate(zip(totals, corrects)):
            name = "" if class_names is None else spreadsheet_cell(class_names[label])
            images = "" if train_counts is None else int(train_counts[label])
            accuracy = f"{correct / total:.6f}" if total else ""
            writer.writerow([label, name, images, total, correct, accuracy])
