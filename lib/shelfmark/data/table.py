"""N annotated images in numpy columns: what a run keeps in memory instead of millions of small objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from shelfmark.core.columns import Column, taken
from shelfmark.core.strings import Strings


@dataclass(frozen=True, eq=False)
class Table:
    """One annotation file, or some rows of it. Legend: N images, C classes.

    paths: (N,) each image's `fpath` as written. image_ids: (N,) its `image_id`, else its `fpath`, followed by
    `#x,y,width,height` where it has a box.
    boxes: (N, 4) float32, the part of the upright picture that a record is about: x, y, width, height in pixels; NaN
    for the whole picture. None where no record has one.
    labels: (N,) int64, -1 where there is none. true_labels: likewise, from `true_category_id`.
    num_classes: C; 0 where the file knows no classes (a test set, a folder of photographs).
    root: the absolute folder that a relative path starts from.
    sha256: of the annotation file's bytes; rows taken from a table keep it.
    class_names, groups: (C,) each class's name and its group's name.
    is_query, is_gallery: (N,) bool. roles, sources: (N,) text, empty where a record has none.
    confidence, weights: (N,) float32; NaN and 1 where a record has none.
    A column that no record has is None.
    columns: (N,) fields of the user's own, by name; empty unless they were asked for.
    """

    paths: Strings
    labels: np.ndarray
    image_ids: Strings
    num_classes: int
    root: Path
    sha256: str
    class_names: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    is_query: np.ndarray | None = None
    is_gallery: np.ndarray | None = None
    roles: Strings | None = None
    sources: Strings | None = None
    confidence: np.ndarray | None = None
    weights: np.ndarray | None = None
    true_labels: np.ndarray | None = None
    boxes: np.ndarray | None = None
    columns: Mapping[str, Column] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def counts(self) -> np.ndarray:
        """(C,) int64, images of each class; unlabelled images count nowhere."""
        return np.bincount(self.labels[self.labels >= 0], minlength=self.num_classes)

    def path(self, row: int) -> Path:
        """The file to open, absolute."""
        return self.root / self.paths[row]

    def take(self, rows: np.ndarray | Sequence[int] | slice) -> Table:
        """The images at `rows` (integers, a boolean mask or a slice), in that order, with all their columns."""
        chosen = np.arange(len(self))[rows]
        paths = self.paths.take(chosen)
        return replace(
            self,
            paths=paths,
            labels=self.labels[chosen],
            image_ids=paths if self.image_ids is self.paths else self.image_ids.take(chosen),
            is_query=_array_rows(self.is_query, chosen),
            is_gallery=_array_rows(self.is_gallery, chosen),
            roles=_string_rows(self.roles, chosen),
            sources=_string_rows(self.sources, chosen),
            confidence=_array_rows(self.confidence, chosen),
            weights=_array_rows(self.weights, chosen),
            true_labels=_array_rows(self.true_labels, chosen),
            boxes=_array_rows(self.boxes, chosen),
            columns=taken(self.columns, chosen),
        )


def _array_rows(column: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return None if column is None else column[rows]


def _string_rows(column: Strings | None, rows: np.ndarray) -> Strings | None:
    return None if column is None else column.take(rows)
