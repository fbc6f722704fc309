"""Classification scores from per-class counters. Legend: N images, C classes.

A confusion matrix of 50,030 classes takes 20 GB; three counters a class are enough for every score here.
Formulas, ties and denominators: docs/definitions.md.
"""

from __future__ import annotations

import torch
from torch import Tensor

from shelfmark.core import dist
from shelfmark.core.errors import UserError
from shelfmark.core.types import Counts
from shelfmark.ops.rank_metrics import mean_or_none

Scores = dict[str, float | None]
GROUPS = ("many", "medium", "few")


class ClassCounts:
    """Counts images and right answers for each class, batch by batch, in O(C) memory on the CPU.

    counters: (3, C) int64: images, right at first place, right within the first five places.
    """

    def __init__(self, num_classes: int) -> None:
        self.counters = torch.zeros(3, num_classes, dtype=torch.int64)

    @property
    def num_classes(self) -> int:
        return self.counters.shape[1]

    @property
    def total(self) -> Tensor:
        """(C,) images of each class."""
        return self.counters[0]

    @property
    def correct(self) -> Tensor:
        """(C,) images of each class whose label had the best logit."""
        return self.counters[1]

    @property
    def accuracy(self) -> Tensor:
        """(C,) float64 top-1 accuracy of each class, NaN where it has no image."""
        return self.correct.double() / self.total.double()

    def add(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Counts a batch: logits (N, C), labels (N,); a label of -1 leaves its image out.

        Returns (N,) int64 on the CPU: the `label_places`, -1 for an image that is left out.
        """
        if logits.ndim != 2 or logits.shape != (len(labels), self.num_classes):
            raise ValueError(f"logits are {tuple(logits.shape)}; expected ({len(labels)}, {self.num_classes})")
        is_labelled = labels.cpu() >= 0
        found = torch.full((len(labels),), -1, dtype=torch.int64)
        if not is_labelled.all():
            logits, labels = logits[is_labelled.to(logits.device)], labels[is_labelled.to(labels.device)]
        places = label_places(logits, labels.to(logits.device)).cpu()
        for counter, right in zip(self.counters, (places >= 0, places < 1, places < 5)):
            counter += torch.bincount(labels.cpu()[right], minlength=self.num_classes)
        found[is_labelled] = places
        return found

    def merge(self, other: ClassCounts) -> None:
        """Adds the counts of another part of the set."""
        self.counters += other.counters

    def sum_over_ranks(self, device: torch.device | str = "cpu") -> None:
        """Adds the counts of all processes, on all processes; device is where they talk (nccl: the GPU)."""
        self.counters = dist.sum_over_ranks(self.counters.to(device)).cpu()

    def scores(self, train_counts: Counts | None = None, many: int = 100, few: int = 20) -> Scores:
        """Scores in 0..1 by the names of summary.json; None where no class can be scored.

        train_counts: (C,) training images a class. A class with more than `many` is many-shot, with fewer
        than `few` few-shot, otherwise medium; without the counts these three are None.
        """
        num_images = int(self.total.sum())
        mean_accuracy = mean_or_none(self.accuracy)
        return {
            "top1": int(self.counters[1].sum()) / num_images if num_images else None,
            "top5": int(self.counters[2].sum()) / num_images if num_images else None,
            "mean_class_accuracy": mean_accuracy,
            "mean_class_error": None if mean_accuracy is None else 1 - mean_accuracy,
            **group_accuracies(self.accuracy, train_counts, many, few),
            "num_images": num_images,
            "num_classes": int((self.total > 0).sum()),
        }


def label_places(logits: Tensor, labels: Tensor, last: int = 5) -> Tensor:
    """(N,) int64 place of each label among its row's logits: 0 for the best, `last` for that place and all behind.

    Of equal logits the lower class leads, so place 0 is where `argmax` points. logits: (N, C) without NaN.
    labels: (N,) in 0..C-1. One partial sort of each row; no (N, C) mask.
    """
    if not len(labels):
        return labels.new_empty(0)
    _check_labels(labels, logits.shape[1])
    best = logits.topk(min(last + 1, logits.shape[1]), dim=1).values
    # NaN sorts before everything else.
    if best[:, 0].isnan().any():
        row = int(best[:, 0].isnan().nonzero()[0])
        raise UserError(
            f"The logits of image {row} of this batch hold NaN, so it has no prediction. The weights or the features "
            "are broken: take an earlier checkpoint, or train with a lower optim.lr or train.precision=fp32."
        )
    own = logits.gather(1, labels[:, None])
    places = (best > own).sum(dim=1)
    # A logit that equals one of the first `last` has its twin among the first `last + 1`.
    tied = ((best == own).sum(dim=1) > 1).nonzero()[:, 0]
    if len(tied):
        lower = torch.arange(logits.shape[1], device=logits.device) < labels[tied, None]
        places[tied] += ((logits[tied] == own[tied]) & lower).sum(dim=1)
    return places.clamp_max(last)


def group_accuracies(accuracy: Tensor, train_counts: Counts | None, many: int = 100, few: int = 20) -> Scores:
    """Mean accuracy of the many-, medium- and few-shot classes; None for a group without a scored class.

    accuracy: (C,), NaN for a class that was not scored. train_counts: (C,), or None for no groups.
    """
    if train_counts is None:
        return dict.fromkeys(GROUPS)
    members = group_members(train_counts, len(accuracy), many, few)
    return {name: mean_or_none(accuracy[inside.to(accuracy.device)]) for name, inside in members.items()}


def group_members(train_counts: Counts, num_classes: int, many: int = 100, few: int = 20) -> dict[str, Tensor]:
    """(C,) bool for each group: whether a class of `train_counts` (C,) training images belongs to it."""
    if len(train_counts) != num_classes:
        raise ValueError(f"{len(train_counts)} training counts for {num_classes} classes")
    if few > many + 1:
        raise UserError(f"eval.few={few} must not exceed eval.many={many}: a class would be many-shot and few-shot.")
    counts = torch.as_tensor(train_counts)
    is_many, is_few = counts > many, counts < few
    return dict(zip(GROUPS, (is_many, ~is_many & ~is_few, is_few)))


def _check_labels(labels: Tensor, num_classes: int) -> None:
    if int(labels.max()) >= num_classes:
        raise UserError(
            f"label {int(labels.max())} is outside the model's {num_classes} classes (0..{num_classes - 1}). "
            "The annotations and the checkpoint number their classes differently."
        )
