"""Several calibrated classifiers side by side, each on images that it has not learned from.

Legend: N images, C classes, D embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from shelfmark.calibration.calibrated import Calibrated, blocks, rows_of
from shelfmark.calibration.folds import choose_by_folds, hit_scores, require_folds
from shelfmark.calibration.intervals import bootstrap_intervals
from shelfmark.calibration.sweep import tiles
from shelfmark.core.types import Array, Counts
from shelfmark.ops.calibration_metrics import reliability, top_probability
from shelfmark.ops.class_metrics import Scores


@dataclass(frozen=True, eq=False)
class Predictions:
    """For each labelled image: hits (N,) bool, whether the prediction is right; confidence (N,) float64; labels (N,)
    int64."""

    hits: Tensor
    confidence: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class Comparison:
    """table: one row a method, its scores on held-out images. chosen: the best method by the rule of tau-norm.

    cross_validated: scores of the choice itself: each image by the method that the rule chooses on the other folds.
    The folds are not nested: the predictions for those other folds come from methods that learned from the image too.
    """

    table: list[dict[str, float | str | None]]
    chosen: str
    cross_validated: Scores


def compare(
    fitted: Mapping[str, Calibrated],
    features: Array,
    labels: Array,
    num_classes: int,
    counts: Counts | None = None,
    many: int = 100,
    few: int = 20,
    folds: int = 5,
    seed: int = 0,
) -> Comparison:
    """Scores fitted methods, by name, on validation features (N, D) and labels (N,), -1 for images without.

    Columns: method; top1, mean_class_accuracy, many, medium and few, each with its 95% interval in _low and _high;
    ece, of the softmax of the logits (for distances, such as the nearest class mean's, it says little). The method with
    the greatest mean_class_accuracy is chosen, of equal ones the first: name the unmodified classifier first.
    counts: (C,) training images a class, for the groups.
    """
    if not fitted:
        raise ValueError("no methods to compare")
    found = {name: held_out_predictions(method, features, labels, num_classes) for name, method in fitted.items()}
    known = next(iter(found.values())).labels
    require_folds(known, folds, "the method", "folds")
    table = [{"method": name, **_scores(one, num_classes, counts, many, few, seed)} for name, one in found.items()]
    hits = torch.stack([one.hits for one in found.values()])
    choice = choose_by_folds(hits, known, folds, seed)
    cross_validated = hit_scores(choice.held_out_hits, known, num_classes, counts, many, few)
    return Comparison(table, list(found)[choice.best], cross_validated)


def held_out_predictions(method: Calibrated, features: Array, labels: Array, num_classes: int) -> Predictions:
    """Predictions for validation images, each by a classifier that did not learn from the image."""
    wanted = torch.as_tensor(labels).cpu().long()
    hits = torch.zeros(len(wanted), dtype=torch.bool)
    confidence = torch.full((len(wanted),), torch.nan, dtype=torch.float64)
    for rows, classifier in method.held_out(features, wanted):
        for block in blocks(len(rows), num_classes):
            logits = classifier.logits(rows_of(features, rows[block]))
            for tile in tiles(logits):
                inside = rows[block][tile]
                sure, predicted = top_probability(logits[tile])
                hits[inside] = predicted.cpu() == wanted[inside]
                confidence[inside] = sure.cpu()
    is_labelled = wanted >= 0
    return Predictions(hits[is_labelled], confidence[is_labelled], wanted[is_labelled])


def _scores(
    found: Predictions, num_classes: int, counts: Counts | None, many: int, few: int, seed: int
) -> dict[str, float | None]:
    scores = hit_scores(found.hits, found.labels, num_classes, counts, many, few)
    intervals = bootstrap_intervals(found.hits, found.labels, num_classes, counts, many, few, seed=seed)
    row: dict[str, float | None] = {}
    for name, score in scores.items():
        low, high = intervals[name] or (None, None)
        row |= {name: score, f"{name}_low": low, f"{name}_high": high}
    return row | {"ece": reliability(found.confidence, found.hits).expected_error}
