"""Boxes: the part of a picture that a record is about. Legend: N records.

A box is `[x, y, width, height]` in pixels of the upright picture, with x and y of its upper left corner. In an array
(N, 4) a row of NaN stands for the whole picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

OUTSIDE_PX = 1.0
"""As far a box may reach over the picture's edge, as boxes do that were rounded; it ends at the edge then."""
NOT_INSIDE = "box outside of the picture"


class Crop(NamedTuple):
    """What is cut out of a picture: a box, and on each side `margin` of the box's width or height around it."""

    x: float
    y: float
    width: float
    height: float
    margin: float = 0.0

    def slices(self, size: tuple[int, int], decoded: tuple[int, int] | None = None) -> tuple[slice, slice]:
        """The rows and the columns of the crop, at least one of each.

        size: width and height of the upright picture. decoded: those of its pixels, where they are fewer. A margin ends
        at the picture's edge. Raises ValueError where the box reaches further than OUTSIDE_PX over the edge.
        """
        decoded = decoded or size
        across = _span(self.x, self.width, self.margin, size[0], decoded[0])
        down = _span(self.y, self.height, self.margin, size[1], decoded[1])
        return down, across


def crop_of(box: np.ndarray, margin: float = 0.0) -> Crop | None:
    """The crop of a box (4,); None for the whole picture."""
    x, y, width, height = box.tolist()
    return None if math.isnan(x) else Crop(x, y, width, height, margin)


def has_box(boxes: np.ndarray) -> np.ndarray:
    """(N,) bool: which of the boxes (N, 4) are boxes, and not the whole picture."""
    return ~np.isnan(boxes[:, 0])


def box_of_record(box: np.ndarray) -> dict[str, list[float]]:
    """The field of an annotation's record for a box (4,): none for the whole picture."""
    return {} if math.isnan(box[0]) else {"bbox": [int(one) if one == int(one) else one for one in box.tolist()]}


def box_texts(boxes: np.ndarray) -> Iterator[str]:
    """Each of the boxes (N, 4) as `#x,y,width,height`, to hundredths of a pixel; empty text for a whole picture."""
    # Adding 0.0 takes the sign from a negative zero.
    for row in (boxes.astype(np.float64).round(2) + 0.0).tolist():
        yield "" if row[0] != row[0] else "#" + ",".join(_number(value) for value in row)


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _span(begin: float, length: float, margin: float, size_px: int, decoded_px: int) -> slice:
    if begin < -OUTSIDE_PX or begin + length > size_px + OUTSIDE_PX or begin >= size_px or begin + length <= 0:
        raise ValueError(NOT_INSIDE)
    scale = decoded_px / size_px
    first = min(max(0, round((begin - margin * length) * scale)), decoded_px - 1)
    last = min(decoded_px, round((begin + (1 + margin) * length) * scale))
    return slice(first, max(first + 1, last))
