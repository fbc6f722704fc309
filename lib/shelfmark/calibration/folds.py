"""Chooses on some validation images and scores on others. Legend: N images, C classes, T tried, D embedding.

The rule, and the meaning of the estimate: docs/definitions.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.core.rng import numpy_generator
from shelfmark.core.types import Array, Counts
from shelfmark.ops.class_metrics import Scores, group_accuracies
from shelfmark.ops.rank_metrics import mean_or_none

_SAME_SCORE = 1e-12


@dataclass(frozen=True, eq=False)
class Choice:
    """The rule's choice on all images, its choice without each fold, and the scores of the latter.

    held_out_hits: (N,) bool, whether each image is right by the winner of the other folds.
    """

    best: int
    fold_winners: list[int]
    held_out_hits: Tensor


def choose_by_folds(hits: Tensor, labels: Tensor, folds: int, seed: int) -> Choice:
    """Chooses on all images, and once without each fold: the greatest mean class accuracy wins, then the first.

    hits: (T, N) bool, whether each candidate is right. labels: (N,), none -1.
    """
    fold = stratified_folds(labels.numpy(), folds, seed)
    winners = [_winner(hits[:, fold != number], labels[fold != number]) for number in range(folds)]
    held_out = hits[torch.tensor(winners)[fold], torch.arange(len(labels))]
    return Choice(_winner(hits, labels), winners, held_out)


def stratified_folds(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """(N,) the fold of each image, 0..folds-1. Folds differ by at most one image, in all and within a class."""
    shuffled = numpy_generator(seed, "folds").permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[by_class] = np.arange(len(labels)) % folds
    return fold


def fold_rows(labels: Array, folds: int, seed: int) -> list[Tensor]:
    """The rows of each fold, rising; rows with label -1 are in none. labels: (N,)."""
    wanted = torch.as_tensor(labels).cpu()
    rows = (wanted >= 0).nonzero()[:, 0]
    fold = torch.from_numpy(stratified_folds(wanted[rows].numpy(), folds, seed))
    return [rows[fold == number] for number in range(folds)]


def labelled(
    features: Array, labels: Array, num_columns: int | None, num_classes: int | None, method: str
) -> tuple[Array, Tensor]:
    """The rows that have a label, and their labels (N,) int64 on the CPU.

    features: (N, num_columns); None allows any number. labels: (N,), -1 for none, below num_classes.
    """
    wanted = torch.as_tensor(labels).cpu()
    fits = features.ndim == 2 and num_columns in (None, features.shape[1]) and wanted.shape == features.shape[:1]
    if not fits:
        columns = "D" if num_columns is None else num_columns
        raise ValueError(
            f"features {tuple(features.shape)} and labels {tuple(wanted.shape)} do not fit as (N, {columns}) and (N,)"
        )
    if num_classes is not None and len(wanted) and int(wanted.max()) >= num_classes:
        raise UserError(f"{method}: label {int(wanted.max())} is outside the classifier's {num_classes} classes.")
    is_labelled = wanted >= 0
    if not is_labelled.any():
        raise UserError(f"{method}: no image has a label, so there is nothing to learn from.")
    if not is_labelled.all():
        features = features[is_labelled.to(features.device) if isinstance(features, Tensor) else is_labelled.numpy()]
    return features, wanted[is_labelled].long()


def require_folds(labels: Tensor, folds: int, method: str, option: str) -> None:
    """Raises a UserError where there are fewer images than folds."""
    if len(labels) < folds:
        raise UserError(
            f"{method} is chosen in {option}={folds} parts, but val has {len(labels)} labelled images. "
            + (f"Set {option}={len(labels)}, or give more images." if len(labels) > 1 else "Give more images.")
        )


def hit_scores(
    hits: Tensor, labels: Tensor, num_classes: int, counts: Counts | None, many: int = 100, few: int = 20
) -> Scores:
    """top1, mean_class_accuracy, many, medium and few of (N,) hits; None where no class can be scored."""
    accuracy = class_accuracy(hits, labels, num_classes)
    return {
        "top1": mean_or_none(hits),
        "mean_class_accuracy": mean_or_none(accuracy),
        **group_accuracies(accuracy, counts, many, few),
    }


def class_accuracy(hits: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """(C,) float64, NaN for a class without an image."""
    right = torch.bincount(labels[hits], minlength=num_classes)
    return right.double() / torch.bincount(labels, minlength=num_classes).double()


def _winner(hits: Tensor, labels: Tensor) -> int:
    """The row of hits with the greatest mean class accuracy, the first of equal ones."""
    num_classes = int(labels.max()) + 1
    scores = [mean_or_none(class_accuracy(row, labels, num_classes)) or 0.0 for row in hits]
    # Equal scores may differ in the last digit, since sums are taken in another order.
    return next(row for row, score in enumerate(scores) if score >= max(scores) - _SAME_SCORE)
