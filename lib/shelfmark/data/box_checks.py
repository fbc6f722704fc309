"""The check of a column of boxes in an annotation file. Legend: N records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from shelfmark.data import findings as problem
from shelfmark.data.annotation_checks import Field, shown
from shelfmark.data.boxes import OUTSIDE_PX
from shelfmark.data.findings import Findings

BBOX = Field("bbox", (list,), "[x, y, width, height] in pixels")
_LARGEST_PX = 1e7


def box_array(values: Sequence[list[Any] | None] | None, findings: Findings) -> np.ndarray | None:
    """(N, 4) float32 of a column of boxes, NaN for None; wrong ones are reported. None where no record has a box."""
    if values is None:
        return None
    boxes = np.full((len(values), 4), np.nan, dtype=np.float32)
    given = np.array([index for index, value in enumerate(values) if value is not None], dtype=np.int64)
    if not len(given):
        return None
    fitting = [index for index in given.tolist() if _is_four_numbers(values[index])]
    boxes[fitting] = np.array([values[index] for index in fitting], dtype=np.float64).reshape(-1, 4)
    is_right = (boxes[given, 2:] > 0).all(axis=1)
    for index in given[~is_right].tolist():
        findings.error(
            index, problem.WRONG_BOX, f"bbox={shown(values[index])}, wanted {BBOX.wanted}, width and height above 0"
        )
    for index in given[is_right & (boxes[given, :2] < -OUTSIDE_PX).any(axis=1)].tolist():
        findings.error(index, problem.WRONG_BOX, f"bbox={shown(values[index])} begins outside of the picture")
    return boxes


def _is_four_numbers(value: list[Any]) -> bool:
    if len(value) != 4 or not {*map(type, value)} <= {int, float}:
        return False
    return all(-_LARGEST_PX < one < _LARGEST_PX for one in value)
