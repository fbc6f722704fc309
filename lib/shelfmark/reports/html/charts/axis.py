"""An axis: from values to shares of its length, and the values that are written beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

# On a logarithmic axis 0 stands this many decades below 1.
_ROOM_OF_ZERO = 1 / 3
_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Axis:
    """name: with its unit. kind: `percent` takes shares and writes them in percent; `counts` is logarithmic, with plain
    whole numbers; `log` is logarithmic for any positive values. low, high: ends that the values do not move.
    labels: names of the places 0, 1, 2 ..., of bars.
    """

    name: str
    kind: Literal["number", "percent", "counts", "log"] = "number"
    low: float | None = None
    high: float | None = None
    labels: tuple[str, ...] = ()

    def scale(self, values: np.ndarray) -> Scale:
        """The scale on which all finite values have a place."""
        values = values[np.isfinite(values)]
        if self.labels:
            ticks = tuple((float(place), label) for place, label in enumerate(self.labels))
            return Scale(-0.6, len(self.labels) - 0.4, ticks)
        if self.kind == "counts":
            return _scale_of_counts(values)
        if self.kind == "log":
            return _scale_of_logs(values)
        return self._linear(values)

    def _linear(self, values: np.ndarray) -> Scale:
        low = self.low if self.low is not None else float(values.min()) if len(values) else 0.0
        high = self.high if self.high is not None else float(values.max()) if len(values) else 1.0
        if high <= low:
            room = abs(low) * 0.1 or (0.01 if self.kind == "percent" else 1.0)
            low, high = (low if self.low is not None else low - room), (high if self.high is not None else high + room)
        if high <= low:
            high = low + 1.0
        if self.high is None:
            # So that what is highest, such as the end of an interval, does not touch the frame.
            roomy = high + 0.02 * (high - low)
            # No share exceeds 100%, so an axis that reaches it ends there.
            high = 1.0 if self.kind == "percent" and high <= 1 < roomy else roomy
        ticks = round_numbers(low, high)
        # An end that the caller left open lies on a tick, so that no value touches the frame.
        low = low if self.low is not None else min(low, ticks[0])
        high = high if self.high is not None else max(high, ticks[-1])
        return Scale(low, high, tuple((tick, self._written(tick)) for tick in ticks if low <= tick <= high))

    def _written(self, tick: float) -> str:
        return f"{100 * tick:.10g}%" if self.kind == "percent" else short(tick)


@dataclass(frozen=True)
class Scale:
    """ticks: values with their text. is_log: of logarithms; values below 1 then have the place of 0 if has_zero."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    is_log: bool = False
    has_zero: bool = False

    def share(self, values: np.ndarray | float) -> np.ndarray:
        """Values as shares of the axis, 0 at its beginning."""
        found = np.asarray(values, dtype=float)
        if self.is_log:
            with np.errstate(divide="ignore", invalid="ignore"):
                logs = np.log10(found)
            found = np.where(found < 1, _ROOM_OF_ZERO * (found - 1), logs) if self.has_zero else logs
        return (found - self.low) / (self.high - self.low)


def round_numbers(low: float, high: float, at_most: int = 6) -> list[float]:
    """Evenly spaced round numbers around low and high, from three to `at_most` or so."""
    raw = (high - low) / (at_most - 1)
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(float(step * power) for step in _STEPS if step * power >= raw * (1 - 1e-9))
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return [float(f"{number * step:.10g}") for number in np.arange(first, last + 1)]


def short(value: float) -> str:
    """A number as it stands beside an axis: 0.001, 1,500, 20k, 3M."""
    size = abs(value)
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            return f"{value / {'G': 1e9, 'M': 1e6, 'k': 1e3}[letter]:.4g}{letter}"
    return f"{value:,.0f}" if size >= 1000 else f"{value:.4g}"


def _scale_of_counts(values: np.ndarray) -> Scale:
    lowest, highest = (float(end(values)) if len(values) else 1.0 for end in (np.min, np.max))
    highest = max(highest, 10.0 * lowest, 10.0)
    has_zero = lowest < 1
    first = 0 if has_zero else int(np.floor(np.log10(lowest) + 1e-9))
    decades = range(first, int(np.ceil(np.log10(highest) - 1e-9)) + 1)
    steps: Sequence[int] = (1,) if len(decades) > 4 else (1, 3) if len(decades) > 2 else (1, 2, 5)
    ticks = [0.0] * has_zero + [float(step * 10**power) for power in decades for step in steps]
    top = float(np.log10(highest)) + 0.05
    low = -_ROOM_OF_ZERO - 0.08 if has_zero else first - 0.08
    shown = tuple((tick, short(tick)) for tick in ticks if tick < 1 or np.log10(tick) <= top)
    return Scale(low, top, shown, is_log=True, has_zero=True)


def _scale_of_logs(values: np.ndarray) -> Scale:
    values = values[values > 0]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.1, 1.0)
    first, last = np.log10(low), np.log10(high)
    if last - first < 1:
        first, last = first - 0.5, last + 0.5
    every = max(1, round((last - first) / 5))
    powers = np.arange(np.ceil(first - 1e-9), np.floor(last + 1e-9) + 1, every)
    return Scale(
        float(first) - 0.04 * float(last - first),
        float(last) + 0.04 * float(last - first),
        tuple((10.0**power, _power_text(int(power))) for power in powers),
        is_log=True,
    )


def _power_text(power: int) -> str:
    return short(10.0**power) if -4 <= power <= 6 else f"1e{power}"
