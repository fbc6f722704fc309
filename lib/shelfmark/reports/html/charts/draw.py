"""Layers of a chart as elements of SVG. Lines differ by dashes and marks, bars by hatching, besides their colours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import singledispatch
from html import escape

import numpy as np

from shelfmark.core.text_safety import printable
from shelfmark.reports.html.charts.axis import Scale
from shelfmark.reports.html.charts.layers import Bars, Dots, Layer, Line, Reference

DASHES = ("", "7 3", "2 3", "9 3 2 3", "1 2", "12 4")
MARKS = (
    "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z",
    "M-3.4 -3.4h6.8v6.8h-6.8z",
    "M0 -4.4l4.4 7.6h-8.8z",
    "M0 -4.8l4.8 4.8l-4.8 4.8l-4.8 -4.8z",
    "M0 4.4l4.4 -7.6h-8.8z",
    "M-4 -1.2h2.8v-2.8h2.4v2.8h2.8v2.4h-2.8v2.8h-2.4v-2.8h-2.8z",
)
_MARKS_A_LINE = 30


@dataclass(frozen=True)
class Frame:
    """The field of a chart, in units of its viewBox, and the scales along its sides."""

    x_scale: Scale
    y_scale: Scale
    left: int
    right: int
    top: int
    bottom: int

    def x(self, value: float | np.ndarray) -> np.ndarray:
        return self.left + self.x_scale.share(value) * (self.right - self.left)

    def y(self, value: float | np.ndarray) -> np.ndarray:
        return self.bottom - self.y_scale.share(value) * (self.bottom - self.top)


@singledispatch
def drawn(layer: Layer, frame: Frame, number: int, prefix: str) -> Iterator[str]:
    """The elements of a layer. number: which of the coloured layers it is."""
    raise TypeError(type(layer))


@drawn.register
def _(layer: Line, frame: Frame, number: int, prefix: str) -> Iterator[str]:
    color, kind = f"s{number % 6}", number % 6
    x, y = frame.x(np.asarray(layer.x, dtype=float)), frame.y(np.asarray(layer.y, dtype=float))
    if layer.low is not None and layer.high is not None:
        low, high = frame.y(np.asarray(layer.low, dtype=float)), frame.y(np.asarray(layer.high, dtype=float))
        is_there = np.isfinite(low) & np.isfinite(high) & np.isfinite(x)
        if is_there.sum() > 1:
            ring = [*_pairs(x[is_there], high[is_there]), *_pairs(x[is_there], low[is_there])[::-1]]
            yield f'<polygon class="band {color}" points="{" ".join(ring)}"/>'
        elif is_there.any():
            place = int(np.flatnonzero(is_there)[0])
            yield f'<path class="whisker {color}" d="M{x[place]:.1f} {high[place]:.1f}V{low[place]:.1f}"/>'
    is_there = np.isfinite(x) & np.isfinite(y)
    x, y = x[is_there], y[is_there]
    notes = [note for note, is_shown in zip(layer.notes, is_there) if is_shown]
    dashed = f' stroke-dasharray="{DASHES[kind]}"' if DASHES[kind] else ""
    yield f'<polyline class="line {color}"{dashed} points="{" ".join(_pairs(x, y))}"/>'
    if layer.has_points and len(x):
        shown = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MARKS_A_LINE)).round().astype(int))
        for place in shown:
            yield _mark(MARKS[kind], color, x[place], y[place], notes[place] if notes else "")


@drawn.register
def _(layer: Dots, frame: Frame, number: int, prefix: str) -> Iterator[str]:
    x, y = frame.x(np.asarray(layer.x, dtype=float)), frame.y(np.asarray(layer.y, dtype=float))
    is_there = np.isfinite(x) & np.isfinite(y)
    # One path of points with round ends is a tenth of the text of as many circles.
    ends = "".join(f"M{one:.0f} {other:.0f}h0" for one, other in zip(x[is_there], y[is_there]))
    yield f'<path class="dots" d="{ends}"/>'


@drawn.register
def _(layer: Bars, frame: Frame, number: int, prefix: str) -> Iterator[str]:
    middles, heights = np.asarray(layer.x, dtype=float), np.asarray(layer.y, dtype=float)
    left, right = frame.x(middles - layer.width / 2), frame.x(middles + layer.width / 2)
    base, top = float(frame.y(max(0.0, frame.y_scale.low))), frame.y(heights)
    fill = _fill(layer, prefix)
    for place in np.flatnonzero(np.isfinite(top)):
        sides = f'x="{left[place]:.1f}" width="{right[place] - left[place]:.1f}"'
        y, height = min(base, top[place]), abs(base - top[place])
        yield f'<rect class="bar s{layer.shade}" {sides} y="{y:.1f}" height="{height:.1f}"{fill}/>'
    if layer.low is not None and layer.high is not None:
        low, high = frame.y(np.asarray(layer.low, dtype=float)), frame.y(np.asarray(layer.high, dtype=float))
        for place in np.flatnonzero(np.isfinite(low) & np.isfinite(high)):
            at = (left[place] + right[place]) / 2
            yield f'<path class="interval" d="M{at:.1f} {low[place]:.1f}V{high[place]:.1f}"/>'


@drawn.register
def _(layer: Reference, frame: Frame, number: int, prefix: str) -> Iterator[str]:
    places = []
    for (x, y), (side, floor) in zip((layer.start, layer.end), ((frame.left, frame.bottom), (frame.right, frame.top))):
        places.append((side if x is None else float(frame.x(x)), floor if y is None else float(frame.y(y))))
    (x0, y0), (x1, y1) = places
    yield f'<path class="reference" d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}"/>'


def legend_mark(layer: Layer, number: int, prefix: str, start: float, y: float) -> str:
    """The layer's look in small, 26 units wide."""
    if isinstance(layer, Dots):
        return f'<path class="dots" d="M{start + 6:.1f} {y + 2:.1f}h0M{start + 13:.1f} {y - 2:.1f}h0"/>'
    if isinstance(layer, Reference):
        return f'<path class="reference" d="M{start:.1f} {y:.1f}h24"/>'
    if isinstance(layer, Bars):
        place = f'x="{start + 6:.1f}" y="{y - 5:.1f}" width="16" height="10"'
        return f'<rect class="bar s{layer.shade}" {place}{_fill(layer, prefix)}/>'
    kind = number % 6
    dashed = f' stroke-dasharray="{DASHES[kind]}"' if DASHES[kind] else ""
    line = f'<path class="line s{kind}"{dashed} d="M{start:.1f} {y:.1f}h24"/>'
    return line + (_mark(MARKS[kind], f"s{kind}", start + 12, y) if layer.has_points else "")


def _fill(layer: Bars, prefix: str) -> str:
    return f' style="fill:url(#{prefix}-h{layer.shade})"' if layer.shade else ""


def _mark(shape: str, color: str, x: float, y: float, note: str = "") -> str:
    mark = f'<path class="mark {color}" transform="translate({x:.1f} {y:.1f})" d="{shape}"'
    return f"{mark}><title>{escape(printable(note, one_line=True))}</title></path>" if note else f"{mark}/>"


def _pairs(x: np.ndarray, y: np.ndarray) -> list[str]:
    return [f"{one:.1f},{other:.1f}" for one, other in zip(x, y)]
