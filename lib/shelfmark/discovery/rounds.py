"""What a round of discovery selects, and what the next round takes over from it.

Legend: U unlabelled images, n images of the pool, C known classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Selection:
    """Which of the U unlabelled images that could be read are training images of the next round.

    rows: (U,) int64, of the annotations, rising. labels: (U,) int64, below C a known class, from C on a pseudo-class,
    -1 where the image is not selected. clusters: (U,) int64 of the round, 0 upwards; -1 where an earlier round selected
    the image and it stays selected. density: (U,) float32, in the round that selected the image, else in this one.
    selected_in: (U,) int64 the round that selected the image, -1 for none.
    """

    rows: np.ndarray
    labels: np.ndarray
    clusters: np.ndarray
    density: np.ndarray
    selected_in: np.ndarray

    @classmethod
    def of_nothing(cls, rows: np.ndarray) -> Self:
        """No image of `rows` (U,) is selected or clustered."""
        none = np.full(len(rows), -1)
        return cls(rows, none, none, np.zeros(len(rows), dtype=np.float32), none)

    @property
    def is_selected(self) -> np.ndarray:
        """(U,) bool."""
        return self.labels >= 0

    def with_pool(
        self, number: int, num_known: int, labels: np.ndarray, clusters: np.ndarray, density: np.ndarray
    ) -> Self:
        """With what round `number` chose in the pool, which is the n images that are not selected here.

        labels: (n,), pseudo-classes from C on; their numbers go on behind those of this selection. clusters, density:
        (n,).
        """
        pool = ~self.is_selected
        offset = max(0, int(self.labels.max(initial=-1)) + 1 - num_known)
        found = {name: getattr(self, name).copy() for name in ("labels", "clusters", "density", "selected_in")}
        found["labels"][pool] = np.where(labels >= num_known, labels + offset, labels)
        found["clusters"][pool], found["density"][pool] = clusters, density
        found["selected_in"][pool] = np.where(labels >= 0, number, -1)
        return type(self)(self.rows, **found)


def kept_selection(
    earlier: Selection, reviewed: np.ndarray, names: Mapping[int, str], rows: np.ndarray, num_known: int
) -> tuple[Selection, dict[int, str]]:
    """What an earlier round selected for good, among the images at `rows` (U,), and its pseudo-classes' names by label.

    reviewed: the earlier round's labels after its review; -1 puts an image back into the pool. names: by label.
    Pseudo-classes are numbered anew from C on, in their order.
    """
    place = np.searchsorted(earlier.rows, rows)
    labels = reviewed[place]
    is_kept = labels >= 0
    old = np.unique(labels[labels >= num_known])
    compact = np.where(labels < num_known, labels, num_known + np.searchsorted(old, labels))
    kept = Selection(
        rows,
        labels=np.where(is_kept, compact, -1),
        clusters=np.full(len(rows), -1),
        density=np.where(is_kept, earlier.density[place], np.float32(0)),
        selected_in=np.where(is_kept, earlier.selected_in[place], -1),
    )
    return kept, {num_known + place: names[label] for place, label in enumerate(old.tolist()) if label in names}


def inherited_names(
    rows: np.ndarray,
    labels: np.ndarray,
    earlier_rows: np.ndarray,
    earlier_labels: np.ndarray,
    earlier_names: Mapping[int, str],
    names: Mapping[int, str],
    num_known: int,
) -> dict[int, str]:
    """`names` by label, and those of an earlier round that go over to the pseudo-classes of this round.

    A pseudo-class inherits the name that more than half of its images had. Where two would inherit one name, the one
    with more of its images does. A label that has a name keeps it. rows, labels: of this round's images, in any order.
    """
    found = dict(names)
    label_of = dict(zip(earlier_rows.tolist(), earlier_labels.tolist()))
    before = np.array([label_of.get(row, -1) for row in rows.tolist()], dtype=np.int64)
    is_named = np.isin(before, list(earlier_names)) & (labels >= num_known)
    pairs, counts = np.unique(np.stack([before[is_named], labels[is_named]]), axis=1, return_counts=True)
    for place in np.argsort(-counts, kind="stable"):
        name, label = earlier_names[int(pairs[0, place])], int(pairs[1, place])
        is_most = 2 * counts[place] > (labels == label).sum()
        if is_most and label not in found and name not in found.values():
            found[label] = name
    return found
