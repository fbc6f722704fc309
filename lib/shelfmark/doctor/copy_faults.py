"""What copies spoil: pictures of train that stand in an evaluation too, and pictures under two labels.

Legend: N pictures.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from shelfmark.doctor.listings import TRAIN, Listings


def leaks(parts: np.ndarray, listings: Listings) -> dict[str, list[np.ndarray]]:
    """By the split that they leak into: groups of pictures that stand, or have copies, in train and there.

    parts: (N,) of `copy_groups.joined_parts`. A picture that both files list is a group of its own.
    """
    order = np.argsort(parts, kind="stable")
    begins = np.searchsorted(parts[order], parts)
    ends = np.searchsorted(parts[order], parts, side="right")
    in_train = _marked(parts, listings.is_in(TRAIN))
    found: dict[str, list[np.ndarray]] = {}
    for split in listings.splits:
        if split == TRAIN:
            continue
        leaked = np.flatnonzero(in_train & _marked(parts, listings.is_in(split)))
        if len(leaked):
            found[split] = [order[begins[part] : ends[part]] for part in leaked.tolist()]
    return found


def two_labels(groups: list[np.ndarray], listings: Listings) -> Iterator[np.ndarray]:
    """The groups whose pictures have different labels. A photograph may list several products: then the sets differ."""
    return (group for group in groups if labels_of(group, listings) is None)


def labels_of(group: np.ndarray, listings: Listings) -> dict[int, frozenset[int]] | None:
    """Number of one of `Listings.spaces` -> the set of labels that every picture of the group (n,) has there.

    None where two pictures have different sets. A picture without a label differs from none."""
    seen: dict[int, frozenset[int]] = {}
    for picture in group.tolist():
        rows = listings.of_picture(picture)
        rows = rows[listings.labels[rows] >= 0]
        for space in np.unique(listings.spaces[rows]).tolist():
            labels = frozenset(listings.labels[rows[listings.spaces[rows] == space]].tolist())
            if seen.setdefault(space, labels) != labels:
                return None
    return seen


def _marked(parts: np.ndarray, is_in: np.ndarray) -> np.ndarray:
    """(N,) bool, at the place of each part that is one of `parts`: whether a picture of the part is in."""
    found = np.zeros(len(parts), bool)
    found[parts[is_in]] = True
    return found
