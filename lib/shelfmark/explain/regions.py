"""The regions of a map that are worth a name. Legend: H x W pixels of the map."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from shelfmark.data.input_window import Box

_OF_THE_PEAK = 0.5


@dataclass(frozen=True, eq=False)
class Region:
    """cells: (H, W) bool, connected. box: around them, in shares of the input. share: of all that speaks for the score
    in the map, what lies in the cells, 0 to 1."""

    cells: np.ndarray
    box: Box
    share: float


def named_regions(values: np.ndarray, most: int = 3) -> list[Region]:
    """Connected cells with at least half the peak's value, the region with the greatest share first.

    values: (H, W) of `score_maps`; what is below 0 belongs to no region. Empty if nothing is above 0.
    """
    positive = np.maximum(values, 0)
    total, peak = float(positive.sum()), float(positive.max(initial=0))
    if not peak > 0:
        return []
    num, labels = cv2.connectedComponents((positive >= _OF_THE_PEAK * peak).astype(np.uint8), connectivity=4)
    found = [_region(labels == number, positive, total) for number in range(1, num)]
    return sorted(found, key=lambda one: -one.share)[:most]


def cell_box(row: int, column: int, shape: tuple[int, ...]) -> Box:
    """One cell of an (H, W) map, in shares of the input."""
    height, width = shape
    return Box(column / width, row / height, (column + 1) / width, (row + 1) / height)


def _region(cells: np.ndarray, positive: np.ndarray, total: float) -> Region:
    rows, columns = np.nonzero(cells)
    first, last = (cell_box(int(end(rows)), int(end(columns)), cells.shape) for end in (np.min, np.max))
    return Region(cells, Box(first.left, first.top, last.right, last.bottom), float(positive[cells].sum()) / total)
