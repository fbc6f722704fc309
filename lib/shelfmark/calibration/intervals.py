"""Confidence intervals of scores, by resampling the images. Legend: N images, C classes.

Source of the percentile bootstrap: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.rng import numpy_generator
from shelfmark.core.types import Counts
from shelfmark.ops.bootstrap import Interval, percentile_interval
from shelfmark.ops.class_metrics import GROUPS, group_members


def bootstrap_intervals(
    hits: Tensor,
    labels: Tensor,
    num_classes: int,
    counts: Counts | None = None,
    many: int = 100,
    few: int = 20,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """(low, high) of top1, mean_class_accuracy, many, medium and few: percentiles over resamples of the N images.

    hits: (N,) bool, whether each image is right. labels: (N,) in 0..C-1. counts: (C,) training images a class, for
    the groups, as in `group_accuracies`. level: share of the resamples inside. None for a score that cannot be given.

    Images are drawn with replacement from all images, not class by class: a class with one image would be the same in
    every resample, and the interval would shrink to nothing. A class that a resample misses is left out of that
    resample's mean. A resample without any class of a group is left out of the group's interval.
    """
    if labels.ndim != 1 or hits.shape != labels.shape:
        raise ValueError(f"hits {tuple(hits.shape)} and labels {tuple(labels.shape)} must both be (N,)")
    if resamples < 1:
        raise ValueError(f"resamples={resamples} must be 1 or above")
    if not 0 < level < 1:
        raise ValueError(f"level={level} must lie between 0 and 1, such as 0.95")
    members = {} if counts is None else group_members(counts, num_classes, many, few)
    groups = {name: members[name].cpu().numpy() for name in GROUPS if name in members}
    names = ("top1", "mean_class_accuracy", *GROUPS)
    if not len(labels):
        return dict.fromkeys(names)
    # Two cells a class: its wrong and its right images.
    cells = 2 * labels.cpu().numpy() + hits.cpu().numpy().astype(bool)
    generator = numpy_generator(seed, "bootstrap")
    scores = np.full((resamples, len(names)), np.nan)
    for row in scores:
        drawn = cells[generator.integers(len(cells), size=len(cells))]
        wrong, right = np.bincount(drawn, minlength=2 * num_classes).reshape(num_classes, 2).T
        images = wrong + right
        seen = images > 0
        accuracy = right[seen] / images[seen]
        row[:2] = right.sum() / len(cells), _mean(accuracy)
        row[2 : 2 + len(groups)] = [_mean(accuracy[inside[seen]]) for inside in groups.values()]
    return {name: percentile_interval(column, level) for name, column in zip(names, scores.T)}


def _mean(values: np.ndarray) -> float:
    """NaN where there is no value. By torch, whose sums have other last digits than numpy's."""
    return float(torch.from_numpy(values).mean()) if len(values) else np.nan
