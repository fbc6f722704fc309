"""The table of classes: per_class.csv. Legend: N images, C classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shelfmark.core.csv_lines import line_feed_writer
from shelfmark.core.files import atomic_path
from shelfmark.core.strings import Strings
from shelfmark.core.text_safety import spreadsheet_cell
from shelfmark.core.types import Counts
from shelfmark.ops.class_metrics import ClassCounts
from shelfmark.ops.confusions import ConfusedPair

MOST_TAKEN_FOR = 3
"""How many classes a row names: those that its images were taken for most often."""
_OF_CLASS = ("class_id", "class_name", "train_images", "bucket", "val_images", "correct", "accuracy", "recall@1")


@dataclass(frozen=True, eq=False)
class PerClass:
    """The numbers of each class.

    class_counts: images of C classes, and how many are right. train_counts: (C,) training images. many, few: bounds of
    the buckets, as in `group_accuracies`. recalls: Recall@1 by class; a class without a scored query has none.
    taken_for: by class, see `ops.confusions.taken_for`.
    """

    class_counts: ClassCounts
    train_counts: Counts | None = None
    class_names: Sequence[str] | Strings | None = None
    many: int = 100
    few: int = 20
    recalls: Mapping[int, float] = field(default_factory=dict)
    taken_for: Mapping[int, Sequence[ConfusedPair]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        num_classes = self.class_counts.num_classes
        for what, given in (("class names", self.class_names), ("training counts", self.train_counts)):
            if given is not None and len(given) != num_classes:
                raise ValueError(f"{len(given)} {what} for {num_classes} classes")

    def name(self, label: int) -> str:
        """The class's name as a cell; empty where the classes have none."""
        return "" if self.class_names is None else spreadsheet_cell(self.class_names[label])

    def bucket(self, label: int) -> str:
        """many, medium or few, by the training images; empty where their number is unknown."""
        if self.train_counts is None:
            return ""
        count = int(self.train_counts[label])
        return "many" if count > self.many else "few" if count < self.few else "medium"


def write_per_class(path: Path, found: PerClass) -> None:
    """Writes one row a class, shares as fractions. A value that is unknown, or that no image gives, is empty."""
    totals, corrects = found.class_counts.total.tolist(), found.class_counts.correct.tolist()
    with (
        atomic_path(path) as beside,
        open(beside, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        writer = line_feed_writer(stream)
        places = range(1, MOST_TAKEN_FOR + 1)
        others = [f"taken_for_{place}{what}" for place in places for what in ("_id", "_name", "_images")]
        writer.writerow([*_OF_CLASS, *others])
        for label, (total, correct) in enumerate(zip(totals, corrects)):
            images = "" if found.train_counts is None else int(found.train_counts[label])
            accuracy = f"{correct / total:.6f}" if total else ""
            recall = f"{found.recalls[label]:.6f}" if label in found.recalls else ""
            row = [label, found.name(label), images, found.bucket(label), total, correct, accuracy, recall]
            writer.writerow([*row, *_others(found, label)])


def _others(found: PerClass, label: int) -> list[int | str]:
    pairs = list(found.taken_for.get(label, ()))[:MOST_TAKEN_FOR]
    cells = [cell for pair in pairs for cell in (pair.predicted, found.name(pair.predicted), pair.num_images)]
    return [*cells, *[""] * (3 * (MOST_TAKEN_FOR - len(pairs)))]
