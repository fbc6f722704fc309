"""The gain of one method over another in several training runs, with intervals by resampling the images.

Legend: N images, C classes. Source of the percentile bootstrap: Efron and Tibshirani, "An
Introduction to the Bootstrap", 1993, chapter 13.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.rng import numpy_generator
from shelfmark.core.types import Counts
from shelfmark.ops.bootstrap import Interval, percentile_interval
from shelfmark.ops.class_metrics import GROUPS, Scores, group_accuracies
from shelfmark.ops.rank_metrics import mean_or_none

NAMES = ("mean_class_accuracy", *GROUPS)


def paired_gains(
    hits: Tensor,
    baseline: Tensor | None,
    labels: Tensor,
    num_classes: int,
    counts: Counts | None = None,
    many: int = 100,
    few: int = 20,
) -> Scores:
    """mean_class_accuracy, many, medium and few: the mean over the runs of the score less the baseline's.

    hits: (runs, N) bool, whether each image is right in each run. baseline: (runs, N) likewise, of the other
    method's runs in the same order; None for the scores themselves. labels: (N,) in 0..C-1. counts: (C,) training
    images a class, for the groups, as in `group_accuracies`. None for a score that no class can give.
    """
    gain, classes = _image_gains(hits, baseline, labels), labels.cpu().numpy()
    return _class_means(gain, classes, num_classes, counts, many, few)


def paired_intervals(
    hits: Tensor,
    baseline: Tensor | None,
    labels: Tensor,
    num_classes: int,
    counts: Counts | None = None,
    many: int = 100,
    few: int = 20,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """(low, high) of each score of `paired_gains`: percentiles over resamples of the N images.

    Every resample takes the same images for both methods and all runs, so that the difficulty of an image cancels.
    Images are drawn with replacement, as in `bootstrap_intervals`, and a class that a resample misses is left out of
    its mean. The runs are not resampled: the interval is about these runs.
    level: share of the resamples inside. None for a score that cannot be given.
    """
    if resamples < 1:
        raise ValueError(f"resamples={resamples} must be 1 or above")
    if not 0 < level < 1:
        raise ValueError(f"level={level} must lie between 0 and 1, such as 0.95")
    gain, classes = _image_gains(hits, baseline, labels), labels.cpu().numpy()
    if not len(classes):
        return dict.fromkeys(NAMES)
    counts = None if counts is None else torch.as_tensor(counts)
    generator = numpy_generator(seed, "paired bootstrap")
    found = np.full((resamples, len(NAMES)), np.nan)
    for row in found:
        drawn = generator.integers(len(classes), size=len(classes))
        scores = _class_means(gain[drawn], classes[drawn], num_classes, counts, many, few)
        row[:] = [np.nan if score is None else score for score in scores.values()]
    return {name: percentile_interval(column, level) for name, column in zip(NAMES, found.T)}


def _image_gains(hits: Tensor, baseline: Tensor | None, labels: Tensor) -> np.ndarray:
    """(N,) float64: for each image, the share of runs that are right less the baseline's share.

    All scores here are means over images of a class and then over classes, so the mean over the runs may come first.
    """
    other = torch.zeros_like(hits) if baseline is None else baseline
    if hits.ndim != 2 or not len(hits) or other.shape != hits.shape or labels.shape != hits.shape[1:]:
        raise ValueError(
            f"hits {tuple(hits.shape)} and baseline {tuple(other.shape)} must both be (runs, N) with one run at least,"
            f" and labels {tuple(labels.shape)} be (N,)"
        )
    return (hits.double().mean(dim=0) - other.double().mean(dim=0)).cpu().numpy()


def _class_means(
    gain: np.ndarray, labels: np.ndarray, num_classes: int, counts: Counts | None, many: int, few: int
) -> Scores:
    """The means over classes of the mean gain of a class's images."""
    total = torch.from_numpy(np.bincount(labels, weights=gain, minlength=num_classes))
    by_class = total / torch.from_numpy(np.bincount(labels, minlength=num_classes))
    return {"mean_class_accuracy": mean_or_none(by_class), **group_accuracies(by_class, counts, many, few)}
