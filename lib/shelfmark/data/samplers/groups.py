"""The labelled rows of a table, class by class. Legend: N labelled rows, C classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Groups:
    """Class `c` owns `rows[starts[c]:starts[c] + counts[c]]`.

    rows: (N,) int64 rows of the table, by class. classes: (N,) the class of each. counts, starts: (C,).
    """

    rows: np.ndarray
    classes: np.ndarray
    counts: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, num_classes: int) -> Groups:
        """labels: (N,) int64, -1 for a row without a label, which belongs to no group."""
        labels = np.asarray(labels, dtype=np.int64)
        if labels.max(initial=-1) >= num_classes:
            raise ValueError(f"label {labels.max()} must be below num_classes={num_classes}")
        by_class = np.argsort(labels, kind="stable")
        rows = by_class[np.count_nonzero(labels < 0) :]
        counts = np.bincount(labels[rows], minlength=num_classes)
        return cls(rows, labels[rows], counts, np.cumsum(counts) - counts)

    def __len__(self) -> int:
        return len(self.rows)

    def of_class(self, label: int) -> np.ndarray:
        """The rows of one class, ascending."""
        return self.rows[self.starts[label] : self.starts[label] + self.counts[label]]
