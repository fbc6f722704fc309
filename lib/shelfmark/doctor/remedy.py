"""Which pictures new annotations leave out. Legend: N pictures.

Only what is sure is taken out. A recoloured copy, one with something laid over, and a near copy under another label
may be another product of one design: those are told, and stay.
"""

from __future__ import annotations

import numpy as np

from shelfmark.doctor.copy_faults import labels_of, leaks, two_labels
from shelfmark.doctor.copy_groups import groups, joined_parts, largest
from shelfmark.doctor.listings import TRAIN, Listings
from shelfmark.doctor.near_copies import Pairs

_Labels = dict[int, frozenset[int]]
"""Of `copy_faults.labels_of`."""


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
    """(pairs,) bool: the pairs that are copies beyond doubt: of the same colours, with nothing laid over, and with the
    same labels wherever their pixels are listed."""
    labels = _labels_of_parts(pairs, exact, listings)
    agree = [
        _compatible(labels[one], labels[two]) for one, two in zip(pairs.first.tolist(), pairs.second.tolist())
    ]  # fmt: skip
    return np.array(agree, bool) & ~pairs.is_recoloured & ~pairs.is_covered


def _labels_of_parts(
    pairs: Pairs, exact: np.ndarray, listings: Listings
) -> dict[int, dict[int, frozenset[int]] | None]:
    """By the first picture with its pixels: the sets of labels by their space; None where those with the same pixels
    have different ones. Each part is looked at once, however many pairs it is in."""
    order = np.argsort(exact, kind="stable")
    ends = np.unique(np.concatenate([pairs.first, pairs.second]))
    begins, stops = (np.searchsorted(exact[order], ends, side=side) for side in ("left", "right"))
    spans = zip(ends.tolist(), begins.tolist(), stops.tolist())
    return {part: labels_of(order[begin:stop], listings) for part, begin, stop in spans}


def _compatible(one: _Labels | None, two: _Labels | None) -> bool:
    if one is None or two is None:
        return False
    return all(one[space] == two[space] for space in one.keys() & two.keys())
