"""The copies among the pictures, and what they spoil. Legend: N pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shelfmark.core.heartbeat import beat
from shelfmark.core.stopping import raise_if_stopped
from shelfmark.doctor.copy_faults import leaks, two_labels
from shelfmark.doctor.copy_groups import exact_parts, groups, joined_parts, largest
from shelfmark.doctor.feature_copies import copies_by_features
from shelfmark.doctor.listings import Listings
from shelfmark.doctor.near_copies import LEAST_CONTRAST, Pairs, copies_by_hash
from shelfmark.pipelines.doctor.diagnosis import Culprits, Finding
from shelfmark.runtime.measured_pictures import MeasuredPictures

COLUMNS = ("group", "image_id", "split", "class", "copy", "width", "height", "path")
_SAME = "same pixels"
_QUARTER, _BOTH = "turned by 90 degrees", "turned by 90 degrees and mirrored"
_TURNED = ("", "mirrored", "mirrored upside down", "turned by 180 degrees", _BOTH, _QUARTER, _QUARTER, _BOTH)
"""By `hash_codes.TURNS`."""


@dataclass(frozen=True, eq=False)
class Copies:
    """exact, parts: (N,) int64: the first picture with the same pixels, and of all copies, near ones included.

    pairs: near copies, of pictures that are the first with their pixels.
    """

    exact: np.ndarray
    parts: np.ndarray
    pairs: Pairs


def find_copies(measured: MeasuredPictures, features: np.ndarray | None) -> Copies:
    """features: (n, D) of the readable pictures, in their order; None without a network."""
    facts, is_read = measured.facts, measured.is_read
    exact = exact_parts(facts["pixels"], is_read)
    compared = np.flatnonzero(is_read & (exact == np.arange(len(exact))) & (facts["contrast"] >= LEAST_CONTRAST))
    found = [copies_by_hash(compared, measured.thumbs, _look)]
    if features is not None:
        read = np.flatnonzero(is_read)
        rows = np.searchsorted(read, compared)
        found.append(copies_by_features(features[rows], compared, measured.thumbs, _look))
    pairs = Pairs.joined(found)
    return Copies(exact, joined_parts(exact, pairs.first, pairs.second), pairs)


def copy_findings(copies: Copies, listings: Listings, measured: MeasuredPictures) -> list[Finding]:
    """Exact and near copies, leaks, and copies under two labels."""
    told = _Told(copies, listings, measured)
    near = groups(copies.parts)
    exact = groups(copies.exact)
    leaked = [
        told.group(group, number, f"train and {split}")
        for split, found in leaks(copies.parts, listings).items()
        for number, group in enumerate(found)
    ]
    return [
        Finding("exact_copies", COLUMNS, told.groups(exact)),
        Finding("near_copies", COLUMNS, told.groups([one for one in near if len(set(copies.exact[one])) > 1])),
        Finding("leaks", COLUMNS, leaked),
        Finding("two_labels", COLUMNS, told.groups(list(two_labels(near, listings)))),
    ]


class _Told:
    """Words and lines about groups of copies."""

    def __init__(self, copies: Copies, listings: Listings, measured: MeasuredPictures) -> None:
        self.copies, self.listings = copies, listings
        facts = measured.facts
        self.sizes = np.stack([facts["width"], facts["height"]], axis=1).astype(np.int64)
        self.num_pixels = self.sizes.prod(1)
        ends = zip(copies.pairs.first.tolist(), copies.pairs.second.tolist())
        self._pair = {pair: place for place, pair in enumerate(ends)}

    def groups(self, found: Sequence[np.ndarray]) -> list[Culprits]:
        return [self.group(one, number) for number, one in enumerate(found)]

    def group(self, group: np.ndarray, number: int, title: str = "") -> Culprits:
        best = largest(group, self.num_pixels)
        order = [best, *(one for one in group.tolist() if one != best)]
        how = ["" if one == best else self._how(best, one) for one in order]
        rows, notes = [], []
        for picture, said in zip(order, how):
            where = self.listings.of_picture(picture)
            width, height = self.sizes[picture].tolist()
            for row in where:
                listed = (self.listings.image_id(row), self.listings.splits[self.listings.split[row]])
                named = self.listings.class_name(row)
                rows.append((number, *listed, named, said, width, height, self.listings.paths[picture]))
            notes.append("; ".join(dict.fromkeys(filter(None, (self._listed(where), said, f"{width} x {height}")))))
        return Culprits(tuple(order), tuple(rows), title or str(rows[0][1]), (), tuple(notes))

    def _listed(self, rows: np.ndarray) -> str:
        found = []
        for row in rows:
            name = self.listings.class_name(row)
            split = self.listings.splits[self.listings.split[row]]
            found.append(f"{split}: {name}" if name else split)
        return ", ".join(dict.fromkeys(found))

    def _how(self, best: int, other: int) -> str:
        one, two = (int(self.copies.exact[picture]) for picture in (best, other))
        if one == two:
            return _SAME
        place = self._pair.get((min(one, two), max(one, two)))
        if place is None:
            return "copy of another of the group"
        pairs = self.copies.pairs
        said = []
        if pairs.window[place] < 0.97:
            said.append(f"cropped to {pairs.window[place]:.0%}")
        said.extend(filter(None, [_TURNED[pairs.turn[place]]]))
        if pairs.is_recoloured[place]:
            said.append("recoloured")
        if pairs.is_covered[place]:
            said.append("something laid over")
        return ", ".join(said) or "saved anew"


def _look() -> None:
    beat("comparing images")
    raise_if_stopped()
