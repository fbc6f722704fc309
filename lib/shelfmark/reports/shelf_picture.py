"""A shelf photograph with its boxes, each with the sign of its answer, and what the signs mean below.

Nothing is told by colour alone: the line of a box says how sure its answer is. Legend: H x W pixels.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from shelfmark.reports.figures import INK, halo, new_figure
from shelfmark.reports.lettering import lettering

_LONGEST_PX, _WIDTH_IN, _LINE_IN, _EDGE_IN = 1600, 14.0, 0.22, 0.2
_LETTERS_A_LINE = 150
_DASHES = {"product": "-", "shortlist": (0, (5, 3)), "family": (0, (5, 3)), "unknown": (0, (1, 2))}
LINES = "box: ___ one product   _ _ several products may be meant   . . unknown"


class SignedBox(NamedTuple):
    """box: x, y, width, height in pixels. kind: of its answer. sign: short, for its corner."""

    box: Sequence[float]
    kind: str
    sign: str


def shelf_figure(pixels: np.ndarray, boxes: Sequence[SignedBox], lines: Sequence[str]) -> Any:
    """The photograph (H, W, 3) uint8 with its boxes, and `lines` below it."""
    scale = min(1.0, _LONGEST_PX / max(pixels.shape[:2]))
    sides = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
    small = cv2.resize(pixels, sides, interpolation=cv2.INTER_AREA) if scale < 1 else pixels
    wrapped = [part for line in (*lines, LINES) for part in textwrap.wrap(line, _LETTERS_A_LINE) or [""]]
    letters = lettering(wrapped)
    room = _WIDTH_IN - 2 * _EDGE_IN
    high, below = room * small.shape[0] / small.shape[1], _LINE_IN * len(wrapped) + 2 * _EDGE_IN
    figure = new_figure(high + below + _EDGE_IN, _WIDTH_IN, layout=None)
    total = high + below + _EDGE_IN
    axes = figure.add_axes((_EDGE_IN / _WIDTH_IN, below / total, room / _WIDTH_IN, high / total))
    axes.imshow(small)
    axes.set_axis_off()
    for one in boxes:
        _draw(axes, [value * scale for value in one.box], one)
    axes.set(xlim=(-0.5, small.shape[1] - 0.5), ylim=(small.shape[0] - 0.5, -0.5))
    settings = {"parse_math": False, "family": list(letters.families), "color": INK, "va": "top", "fontsize": 10}
    for row, line in enumerate(wrapped):
        figure.text(_EDGE_IN / _WIDTH_IN, (below - _EDGE_IN - _LINE_IN * row) / total, line, **settings)
    return figure


def _draw(axes: Any, box: Sequence[float], one: SignedBox) -> None:
    x, y, width, height = box
    # imshow centres the first pixel at 0.
    left, top = x - 0.5, y - 0.5
    outline = ([left, left + width, left + width, left, left], [top, top, top + height, top + height, top])
    axes.plot(*outline, color="black", linewidth=3.2)
    axes.plot(*outline, color="white", linewidth=1.6, linestyle=_DASHES[one.kind])
    axes.text(left, top, one.sign, fontsize=9, weight="bold", color="white", va="top", path_effects=halo(2.5))
