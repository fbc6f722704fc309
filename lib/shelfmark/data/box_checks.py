"""The check of a column of boxes in an annotation file. Legend: N records."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from shelfmark.data import findings as problem
from shelfmark.data.boxes import OUTSIDE_PX
from shelfmark.data.findings import Findings
from shelfmark.data.record_fields import BOX
from shelfmark.data.shown_values import shown

_LARGEST_PX = 1e7
_TOO_LARGE = f": a number is not below {_LARGEST_PX:,.0f}"


def without_others(values: Sequence[list[Any] | None], findings: Findings, first: int) -> Sequence[list[Any] | None]:
    """The boxes, None for a box that is not four numbers, which is reported. first: the record of the first box."""
    if _are_four_numbers(values):
        return values
    kept = [value if _are_four_numbers([value]) else None for value in values]
    for index, (value, fits) in enumerate(zip(values, kept), start=first):
        if fits is None and value is not None:
            why = _TOO_LARGE if len(value) == 4 and set(map(type, value)) <= {int, float} else ""
            findings.error(index, problem.WRONG_BOX, f"bbox={shown(value)}, wanted {BOX.wanted}{why}")
    return kept


def checked_boxes(boxes: np.ndarray | None, findings: Findings) -> np.ndarray | None:
    """The same in float32; None where no record has a box. Boxes that no picture could have are reported.

    boxes: (N, 4) float64, NaN for the whole picture.
    """
    if boxes is None or np.isnan(boxes).all():
        return None
    packed = boxes.astype(np.float32)
    given = ~np.isnan(boxes).all(axis=1)
    is_right = (np.abs(boxes) < _LARGEST_PX).all(axis=1) & (packed[:, 2:] > 0).all(axis=1)
    for row in np.flatnonzero(given & ~is_right).tolist():
        told = f"bbox={shown(boxes[row].tolist())}, wanted {BOX.wanted}{_why_none(boxes[row])}"
        findings.error(row, problem.WRONG_BOX, told)
    begins_outside = (packed[:, :2] < -OUTSIDE_PX).any(axis=1)
    for row in np.flatnonzero(given & is_right & begins_outside).tolist():
        told = f"bbox={shown(boxes[row].tolist())} begins outside of the picture"
        findings.error(row, problem.WRONG_BOX, told)
    return packed


def _why_none(box: np.ndarray) -> str:
    """box: (4,)."""
    if not np.isfinite(box).all():
        return ": a number is missing or not finite"
    return _TOO_LARGE if (np.abs(box) >= _LARGEST_PX).any() else ", width and height above 0"


def _are_four_numbers(values: Sequence[list[Any] | None]) -> bool:
    given = [value for value in values if value is not None]
    if set(map(len, given)) - {4} or set(map(type, chain.from_iterable(given))) - {int, float}:
        return False
    # An integer may be beyond what a float can hold.
    return all(-_LARGEST_PX < one < _LARGEST_PX for one in chain.from_iterable(given))
