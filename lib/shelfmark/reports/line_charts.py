"""Line charts as SVG text for an HTML page: a score, round after round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from shelfmark.reports.figures import BLUE, GREEN, GRID, MUTED, ORANGE, PURPLE

# Lines are told apart without their colours too: by dashes, and by the shape of a point, from its middle in pixels.
_LOOKS = (
    (BLUE, "", ""),
    (ORANGE, "7 3", "M-4 -4h8v8h-8z"),
    (GREEN, "2 3", "M0 -5l5 9h-10z"),
    (PURPLE, "9 3 2 3", "M0 -5.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z"),
)
_WIDTH, _HEIGHT = 340, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 26, 26
_LETTER = 6.6
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 25, 50)


@dataclass(frozen=True)
class Point:
    """value, low, high: shares in 0..1; without an interval low and high are None."""

    place: int
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class LineChart:
    """lines: at most four. place_name: the name of the x axis, whose points are numbered."""

    title: str
    lines: tuple[Line, ...]
    place_name: str = "round"


def line_chart(chart: LineChart) -> str:
    """The chart as an <svg> element, in percent. The scale fits the values, within 0% to 100%."""
    lines = [line for line in chart.lines if line.points]
    places = sorted({point.place for line in lines for point in line.points})
    ticks = _ticks([100 * value for line in lines for point in line.points for value in _values(point)])
    frame = _Frame(places or [0], ticks)
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(chart.title, quote=True)}"']
    parts.append(' font-family="inherit" font-size="12">')
    parts.extend(frame.axes(chart.place_name))
    start = float(_LEFT)
    for line, (color, dashes, shape) in zip(lines, _LOOKS, strict=False):
        parts.extend(frame.line(line, color, dashes, shape))
        parts.append(f'<path d="M{start:.1f} 10h26" {_stroke(color, dashes)}/>{_dot(start + 13, 10, color, shape)}')
        parts.append(f'<text x="{start + 31:.1f}" y="14" fill="{MUTED}">{escape(line.name)}</text>')
        start += 45 + _LETTER * len(line.name)
    return "".join([*parts, "</svg>"])


class _Frame:
    """Maps rounds and percent to places in the picture."""

    def __init__(self, places: Sequence[int], ticks: np.ndarray) -> None:
        self.places, self.ticks = places, ticks

    def x(self, place: int) -> float:
        first, last = self.places[0], self.places[-1]
        share = (place - first) / (last - first) if last > first else 0.5
        return _LEFT + 14 + share * (_WIDTH - _LEFT - _RIGHT - 28)

    def y(self, percent: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        return _TOP + (high - percent) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    def axes(self, place_name: str) -> Iterator[str]:
        for tick in self.ticks:
            y = self.y(tick)
            yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}"/>'
            yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="{MUTED}">{tick:g}%</text>'
        # With many rounds only some get a label.
        step = -(-len(self.places) // 8)
        for place in self.places[::step]:
            said = f"{place_name} {place}" if place == self.places[0] else f"{place}"
            anchor = "middle"
            yield f'<text x="{self.x(place):.1f}" y="{_HEIGHT - 6}" text-anchor="{anchor}" fill="{MUTED}">{said}</text>'

    def line(self, line: Line, color: str, dashes: str, shape: str) -> Iterator[str]:
        corners = " ".join(f"{self.x(point.place):.1f},{self.y(100 * point.value):.1f}" for point in line.points)
        yield f'<polyline points="{corners}" {_stroke(color, dashes)}/>'
        for point in line.points:
            x, y = self.x(point.place), self.y(100 * point.value)
            if point.low is not None and point.high is not None:
                ends = f'y1="{self.y(100 * point.low):.1f}" y2="{self.y(100 * point.high):.1f}"'
                yield f'<line x1="{x:.1f}" x2="{x:.1f}" {ends} stroke="{color}" stroke-width="1.4" opacity="0.55"/>'
            said = f"{line.name}, {point.place}: {100 * point.value:.1f}%"
            if point.low is not None and point.high is not None:
                said += f" ({100 * point.low:.1f} - {100 * point.high:.1f})"
            yield _dot(x, y, color, shape, f"<title>{escape(said)}</title>")


def _stroke(color: str, dashes: str) -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'fill="none" stroke="{color}" stroke-width="2" stroke-linejoin="round"{dashed}'


def _dot(x: float, y: float, color: str, shape: str, title: str = "") -> str:
    if not shape:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}">{title}</circle>'
    return f'<path d="{shape}" transform="translate({x:.1f} {y:.1f})" fill="{color}">{title}</path>'


def _values(point: Point) -> list[float]:
    return [value for value in (point.value, point.low, point.high) if value is not None]


def _ticks(percents: Sequence[float]) -> np.ndarray:
    """Four to six round numbers around all of them, at least 2 apart in all, within 0..100."""
    if not percents:
        return np.array([0.0, 50.0, 100.0])
    low, high = min(percents), max(percents)
    middle = (low + high) / 2
    low, high = min(low, middle - 1), max(high, middle + 1)
    step = next(step for step in _STEPS if (high - low) / step <= 4)
    first, last = max(0, np.floor(low / step)), min(100 / step, np.ceil(high / step))
    return np.arange(first, last + 1) * step
