"""What speaks for an answer, laid over its picture. Nothing is told by colour alone: heat is a ramp of lightness in one
hue, regions are outlined and numbered. Legend: H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from shelfmark.data.input_window import Box

_DARKEST = np.array([8, 48, 107], np.float32) / 255
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_DASH_PX, _STRIPE_PX = 5, 6
_FONT, _FONT_SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.42


class Mark(NamedTuple):
    """A region of the picture, made of rectangles in its pixels, with the sign that words beside it explain.

    is_dashed: another kind of region.
    """

    parts: Sequence[Box]
    sign: str
    is_dashed: bool = False

    def scaled(self, across: float, down: float) -> Mark:
        """In the pixels of a picture that was resized by these factors."""
        return self._moved([Box(x0 * across, y0 * down, x1 * across, y1 * down) for x0, y0, x1, y1 in self.parts])

    def shifted(self, left: int, top: int) -> Mark:
        """In the pixels of a picture whose first columns and rows were cut off."""
        return self._moved([Box(x0 - left, y0 - top, x1 - left, y1 - top) for x0, y0, x1, y1 in self.parts])

    def _moved(self, parts: Sequence[Box]) -> Mark:
        return self._replace(parts=parts)


def about_what_was_seen(
    pixels: np.ndarray, heat: np.ndarray, marks: Sequence[Mark]
) -> tuple[np.ndarray, np.ndarray, Sequence[Mark]]:
    """Picture, heat and marks without what lies further from the seen part than a fifth of its sides.

    heat: (H, W), NaN where nothing was seen.
    """
    is_seen = ~np.isnan(heat)
    if not is_seen.any():
        return pixels, heat, marks
    kept, starts = [], []
    for other_axis in (1, 0):
        places = np.flatnonzero(is_seen.any(axis=other_axis))
        first, last = int(places[0]), int(places[-1]) + 1
        margin = (last - first) // 5
        starts.append(max(0, first - margin))
        kept.append(slice(starts[-1], last + margin))
    return pixels[kept[0], kept[1]], heat[kept[0], kept[1]], [one.shifted(starts[1], starts[0]) for one in marks]


def ramp(level: np.ndarray) -> np.ndarray:
    """(..., 3) of 0 to 1, from white at level 0 to the darkest of one hue at 1."""
    return 1 - level[..., None] * (1 - _DARKEST)


def shaded(pixels: np.ndarray, heat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ramp over a grey copy of (H, W, 3) pixels, (H, W, 3) of 0 to 1; the level (H, W) of 0 to 1 that it shows; and
    (H, W) bool, what the network saw. heat: of any size; what is below 0 is drawn as 0, NaN as not seen."""
    height, width = pixels.shape[:2]
    is_seen = ~np.isnan(heat)
    level = np.maximum(np.nan_to_num(heat), 0).astype(np.float32)
    level /= max(float(level.max()), 1e-20)
    level = cv2.resize(level, (width, height), interpolation=cv2.INTER_LINEAR)
    seen = cv2.resize(is_seen.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None] / 255
    # Little contrast is left to the picture, so that the lightness is the ramp's.
    shown = (0.72 + 0.28 * grey) * ramp(level)
    shown[~seen] = 0.88 + 0.06 * grey[~seen]
    return shown, level, seen


def heat_thumbnails(
    pixels: np.ndarray, heat: np.ndarray, marks: Sequence[Mark], side_px: int
) -> tuple[np.ndarray, np.ndarray]:
    """The picture, and beside it the heat with its marks; both (h, w, 3) uint8 with a longest side of side_px.

    As `explanation_figure` draws it, at the size of a page's thumbnail. pixels: (H, W, 3) uint8. heat: (H, W).
    """
    pixels, heat, marks = about_what_was_seen(pixels, heat, marks)
    scale = side_px / max(pixels.shape[:2])
    width, height = (max(1, round(side * scale)) for side in pixels.shape[1::-1])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = np.asarray(cv2.resize(pixels, (width, height), interpolation=method))
    values, _, seen = shaded(small, heat)
    drawn = np.ascontiguousarray(np.rint(255 * values).astype(np.uint8))
    rows, columns = np.indices(seen.shape)
    drawn[~seen & ((rows + columns) % _STRIPE_PX == 0)] = 128
    here = [one.scaled(width / pixels.shape[1], height / pixels.shape[0]) for one in marks]
    for mark in here:
        _outline(drawn, mark)
    for mark in here:
        _sign(drawn, mark)
    return small, drawn


def _outline(drawn: np.ndarray, mark: Mark) -> None:
    """The edge of a region in white on black, which shows on any picture."""
    inside = np.zeros(drawn.shape[:2], np.uint8)
    for box in mark.parts:
        left, top, right, bottom = (round(edge) for edge in box)
        inside[top:bottom, left:right] = 1
    for edge in cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
        cv2.polylines(drawn, [edge], True, _BLACK, 3)
        for dash in _dashes(edge) if mark.is_dashed else [edge]:
            cv2.polylines(drawn, [dash], not mark.is_dashed, _WHITE, 1)


def _dashes(edge: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(edge), 2 * _DASH_PX):
        yield edge[start : start + _DASH_PX]


def _sign(drawn: np.ndarray, mark: Mark) -> None:
    """The sign of a region on a plate in its first corner."""
    if not mark.parts:
        return
    first = min(mark.parts, key=lambda box: (box.top, box.left))
    (wide, high), _ = cv2.getTextSize(mark.sign, _FONT, _FONT_SIZE, 1)
    left = min(max(0, round(first.left)), max(0, drawn.shape[1] - wide - 5))
    top = min(max(0, round(first.top)), max(0, drawn.shape[0] - high - 6))
    corner = (left + wide + 4, top + high + 5)
    cv2.rectangle(drawn, (left, top), corner, _WHITE, cv2.FILLED)
    cv2.rectangle(drawn, (left, top), corner, _BLACK, 1)
    cv2.putText(drawn, mark.sign, (left + 3, top + high + 3), _FONT, _FONT_SIZE, _BLACK, 1, cv2.LINE_AA)
