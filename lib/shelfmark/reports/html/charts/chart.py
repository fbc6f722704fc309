"""A chart: its axes and layers, as an <svg> element and as the rows of a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from shelfmark.core.text_safety import printable
from shelfmark.reports.html.charts.axis import Axis, Scale
from shelfmark.reports.html.charts.draw import Frame, drawn, legend_mark
from shelfmark.reports.html.charts.layers import Dots, Layer, Reference, values_of

_WIDTH, _PLOT_HEIGHT = 400, 200
_LEFT, _RIGHT, _BOTTOM, _ROW = 48, 14, 42, 18
_LETTER = 6.3


@dataclass(frozen=True, eq=False)
class Chart:
    """description: what the chart shows, for who cannot see it: the ends and the best of its lines, for example."""

    title: str
    description: str
    x: Axis
    y: Axis
    layers: tuple[Layer, ...]

    def svg(self, prefix: str) -> str:
        """The <svg> element. It is coloured by the style of the page. prefix: of its ids, unique on a page."""
        legend = _legend_places([printable(layer.name, one_line=True) for layer in self.layers if layer.name])
        legend_top = _ROW if self.y.name else 0
        top = 12 + legend_top + _ROW * (1 + max((row for row, _ in legend), default=-1))
        height = top + _PLOT_HEIGHT + _BOTTOM
        frame = self._frame(top)
        named = f'role="img" aria-labelledby="{prefix}-title {prefix}-desc"'
        parts = [f'<svg class="chart" viewBox="0 0 {_WIDTH} {height}" {named}>']
        parts.append(f'<title id="{prefix}-title">{_text(self.title)}</title>')
        parts.append(f'<desc id="{prefix}-desc">{_text(self.description)}</desc>')
        parts.extend(_hatching(prefix))
        parts.extend(self._axes(frame, height))
        if self.y.name:
            parts.append(f'<text class="name" x="2" y="12">{_text(self.y.name)}</text>')
        number = 0
        marks: list[str] = []
        for layer in self.layers:
            parts.extend(drawn(layer, frame, number, prefix))
            if layer.name:
                row, start = legend[len(marks)]
                marks.append(_legend_entry(layer, number, prefix, start, 10 + legend_top + _ROW * row))
            number += not isinstance(layer, Dots | Reference)
        return "".join([*parts, *marks, "</svg>"])

    def columns(self) -> tuple[str, ...]:
        return ("series", self.x.name, self.y.name, "low", "high")

    def rows(self) -> list[dict[str, Any]]:
        """A row for each point of each layer, by `columns`. Shares stay shares."""
        found = []
        for layer in self.layers:
            if isinstance(layer, Reference):
                found += [self._row(layer.name, x, y) for x, y in (layer.start, layer.end)]
                continue
            low, high = (getattr(layer, name, None) for name in ("low", "high"))
            for place, (x, y) in enumerate(zip(np.asarray(layer.x).tolist(), np.asarray(layer.y).tolist())):
                ends = ("" if one is None else float(one[place]) for one in (low, high))
                found.append(self._row(layer.name, x, y, *ends))
        return found

    def _row(self, name: str, x: Any, y: Any, low: Any = "", high: Any = "") -> dict[str, Any]:
        if self.x.labels and x is not None:
            x = self.x.labels[round(x)]
        return dict(zip(self.columns(), (name, "" if x is None else x, "" if y is None else y, low, high)))

    def _frame(self, top: int) -> Frame:
        found = [values_of(layer) for layer in self.layers]
        x = np.concatenate([one for one, _ in found]) if found else np.zeros(0)
        y = np.concatenate([one for _, one in found]) if found else np.zeros(0)
        return Frame(self.x.scale(x), self.y.scale(y), _LEFT, _WIDTH - _RIGHT, top, top + _PLOT_HEIGHT)

    def _axes(self, frame: Frame, height: int) -> Iterator[str]:
        for tick, text in frame.y_scale.ticks:
            y = frame.y(tick)
            yield f'<path class="grid" d="M{frame.left} {y:.1f}H{frame.right}"/>'
            yield f'<text x="{frame.left - 6}" y="{y + 4:.1f}" text-anchor="end">{_text(text)}</text>'
        for tick, text in _that_fit(frame.x_scale, frame):
            x = frame.x(tick)
            yield f'<path class="grid" d="M{x:.1f} {frame.bottom}v4"/>'
            yield f'<text x="{x:.1f}" y="{frame.bottom + 16}" text-anchor="middle">{_text(text)}</text>'
        yield f'<path class="frame" d="M{frame.left} {frame.bottom}H{frame.right}"/>'
        middle = (frame.left + frame.right) / 2
        yield f'<text class="name" x="{middle:.0f}" y="{height - 8}" text-anchor="middle">{_text(self.x.name)}</text>'


def _that_fit(scale: Scale, frame: Frame) -> list[tuple[float, str]]:
    """The ticks, or every second, third ... of them, so that no text touches the next."""
    if not scale.ticks:
        return []
    widest = max(len(text) for _, text in scale.ticks) * _LETTER + 8
    room = (frame.right - frame.left) / max(1, len(scale.ticks))
    return list(scale.ticks[:: max(1, int(np.ceil(widest / room)))])


def _legend_places(names: list[str]) -> list[tuple[int, float]]:
    """The row and the start of each name, in as many rows as they need."""
    found, row, start = [], 0, float(_LEFT)
    for name in names:
        width = 34 + _LETTER * len(name)
        if start > _LEFT and start + width > _WIDTH - _RIGHT:
            row, start = row + 1, float(_LEFT)
        found.append((row, start))
        start += width + 12
    return found


def _legend_entry(layer: Layer, number: int, prefix: str, start: float, y: float) -> str:
    mark = legend_mark(layer, number, prefix, start, y)
    return f'{mark}<text x="{start + 30:.1f}" y="{y + 4:.1f}">{_text(layer.name)}</text>'


def _hatching(prefix: str) -> Iterator[str]:
    """Patterns by which bars differ besides their colour."""
    lines = {1: "M0 6L6 0", 2: "M0 3H6", 3: "M0 0L6 6M0 6L6 0"}
    yield "<defs>"
    for shade, path in lines.items():
        yield f'<pattern id="{prefix}-h{shade}" width="6" height="6" patternUnits="userSpaceOnUse">'
        yield f'<rect class="s{shade} soft" width="6" height="6"/><path class="s{shade} hatch" d="{path}"/></pattern>'
    yield "</defs>"


def _text(text: str) -> str:
    return escape(printable(text, one_line=True), quote=True)
