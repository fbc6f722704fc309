"""What is drawn on a chart: lines with bands, dots, bars, references."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True, eq=False)
class Line:
    """x, y: (points,). low, high: (points,) a band around it, NaN where there is none. has_points: a mark at each.

    notes: of each point, shown when a pointer rests on its mark.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    has_points: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Dots:
    """x, y: (points,). Faint, behind all else. total: how many there are, if these are a sample of them."""

    name: str
    x: np.ndarray
    y: np.ndarray
    total: int = 0


@dataclass(frozen=True, eq=False)
class Bars:
    """x: (points,) middles. y: (points,) heights. width: of a bar, on the axis. low, high: (points,) an interval at
    each end.

    shade: bars of different shades differ by their hatching too.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    width: float
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    shade: Literal[0, 1, 2, 3] = 0


@dataclass(frozen=True)
class Reference:
    """A straight dotted line from (x, y) to (x, y), in values of the axes; None is an end of the axis."""

    name: str
    start: tuple[float | None, float | None]
    end: tuple[float | None, float | None]


Layer = Line | Dots | Bars | Reference


def values_of(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """All values that the axes have to hold, of x and of y."""
    if isinstance(layer, Reference):
        ends = np.array([layer.start, layer.end], dtype=float)
        return ends[:, 0], ends[:, 1]
    y = [np.asarray(layer.y, dtype=float)]
    if not isinstance(layer, Dots):
        y += [np.asarray(one, dtype=float) for one in (layer.low, layer.high) if one is not None]
    if isinstance(layer, Bars):
        half = layer.width / 2
        return np.concatenate([layer.x - half, layer.x + half]), np.concatenate([*y, [0.0]])
    return np.asarray(layer.x, dtype=float), np.concatenate(y)
