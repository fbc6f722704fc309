"""Findings about single pictures: unreadable, dark, bright, blank, blurred, tiny, of an odd shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from shelfmark.data.boxes import NOT_INSIDE
from shelfmark.doctor.listings import Listings
from shelfmark.doctor.picture_faults import picture_faults
from shelfmark.pipelines.doctor.diagnosis import Culprits, Finding
from shelfmark.runtime.measured_pictures import MeasuredPictures

_UNREADABLE = ("image_id", "split", "class", "reason", "path")
_FAULTY = ("image_id", "split", "class", "value", "width", "height", "path")


def unreadable(listings: Listings, measured: MeasuredPictures, is_outside: np.ndarray) -> Finding:
    """Those that could not be read, and those with boxes that cannot be cut out; the commonest reason first.

    is_outside: (listings,) bool, of `boxes_outside`.
    """
    with_boxes = np.unique(listings.picture[is_outside]).tolist()
    reasons = {**measured.reasons, **dict.fromkeys(with_boxes, NOT_INSIDE)}
    number = Counter(reasons.values())
    order = sorted(reasons, key=lambda row: (-number[reasons[row]], reasons[row], row))
    culprits = []
    for picture in order:
        told = listings.of_picture(picture)
        # The other boxes of a photograph that can be read are sound.
        own = told if picture in measured.reasons else told[is_outside[told]]
        culprits.append(_unread(picture, reasons[picture], own.tolist(), listings))
    return Finding("unreadable", _UNREADABLE, culprits)


def faulty(listings: Listings, measured: MeasuredPictures, input_size_px: int) -> list[Finding]:
    """A finding for each fault, the worst pictures first."""
    facts = measured.facts
    found = []
    for fault in picture_faults(facts, measured.is_read, input_size_px):
        culprits = []
        for picture, value in zip(fault.pictures.tolist(), fault.values.tolist()):
            size = (int(facts["width"][picture]), int(facts["height"][picture]))
            rows = tuple(
                (*_named(row, listings), f"{value:.4g}", *size, listings.paths[picture])
                for row in listings.of_picture(picture)
            )
            note = f"{rows[0][0]}; {value:.3g}" + (f"; {size[0]} x {size[1]}" if fault.name == "tiny" else "")
            culprits.append(Culprits((picture,), rows, notes=(note,), facts=(fault.told,)))
        found.append(Finding(fault.name, _FAULTY, culprits))
    return found


def _unread(picture: int, reason: str, told: Sequence[int], listings: Listings) -> Culprits:
    """told: the listings of the picture that the reason is about."""
    rows = tuple((*_named(row, listings), reason, listings.paths[picture]) for row in told)
    return Culprits((picture,), rows, title=str(rows[0][0]), facts=(reason,))


def _named(row: int, listings: Listings) -> tuple[str, str, str]:
    """A listing's id, split and class."""
    return listings.image_id(row), listings.splits[listings.split[row]], listings.class_name(row)
