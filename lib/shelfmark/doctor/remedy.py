"""Which pictures new annotations leave out. Legend: N pictures.

Only what is sure is taken out. A recoloured copy may be another product of one design, and so may a near copy under
another label: those are told, and stay.
"""

from __future__ import annotations

import numpy as np

from shelfmark.doctor.copy_faults import leaks, two_labels
from shelfmark.doctor.copy_groups import groups, joined_parts, largest
from shelfmark.doctor.listings import TRAIN, Listings
from shelfmark.doctor.near_copies import Pairs


def pictures_to_drop(
    listings: Listings, exact: np.ndarray, pairs: Pairs, is_read: np.ndarray, num_pixels: np.ndarray
) -> dict[str, np.ndarray]:
    """By split: the pictures (n,) int64 that it loses. exact: (N,) of `copy_groups.exact_parts`.

    Every split loses what cannot be read. Train also loses copies of pictures of an evaluation, all copies but the
    largest of one photograph, and all of those with the same pixels under two labels.
    """
    sure = sure_pairs(pairs, exact, listings)
    parts = joined_parts(exact, pairs.first[sure], pairs.second[sure])
    in_train = listings.is_in(TRAIN)
    drops = np.zeros(len(exact), bool)
    for found in leaks(parts, listings).values():
        for group in found:
            drops[group] = True
    for group in two_labels(groups(exact), listings):
        drops[group] = True
    for group in groups(parts):
        mine = group[in_train[group] & ~drops[group]]
        if len(mine) > 1:
            drops[mine[mine != largest(mine, num_pixels)]] = True
    return {
        split: np.flatnonzero(listings.is_in(split) & (~is_read | (drops if split == TRAIN else False)))
        for split in listings.splits
    }


def sure_pairs(pairs: Pairs, exact: np.ndarray, listings: Listings) -> np.ndarray:
    """(pairs,) bool: whether the colours are the same too, and no two pictures of these pixels have other labels."""
    members: dict[int, list[int]] = {}
    for picture, part in enumerate(exact.tolist()):
        members.setdefault(part, []).append(picture)
    both = [np.array([*members[one], *members[two]]) for one, two in zip(pairs.first.tolist(), pairs.second.tolist())]
    agree = [not any(True for _ in two_labels([group], listings)) for group in both]
    return np.array(agree, bool) & ~pairs.is_recoloured
