"""A learning-rate range test: the loss at rates that rise from step to step.

Source: Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from shelfmark.core.contracts import Batch
from shelfmark.core.heartbeat import beat
from shelfmark.data.loader import EpochLoader
from shelfmark.engine.step import TrainStep

FIRST_RATE, LAST_RATE, NUM_STEPS = 1e-6, 10.0, 100
SMOOTHING = 0.8
_RISE = 4.0
"""A loss that is this many times the best one has diverged."""
_AT_LEAST = 10
_FALL, _NOISES = 0.05, 3.0
"""A fall counts from this share of the first loss on, and from this many standard errors of the moving average."""
_HALF_WINDOW = 7
"""Steps on each side of one, by which the slope there is found: with it about a decade of rates."""


@dataclass(frozen=True)
class RatePoint:
    """One step. loss: of its batch, before its update. smoothed: the moving average of losses up to it."""

    rate: float
    loss: float
    smoothed: float


@dataclass(frozen=True)
class RateRange:
    """points: of the steps that were taken. diverged: the rate at which the test ended early, None if it did not.
    skipped: why a step was not taken, '' if all were."""

    points: tuple[RatePoint, ...]
    diverged: float | None
    skipped: str = ""

    @property
    def steepest(self) -> float | None:
        """The rate at which the loss fell most steeply, per factor of the rate; None if it fell no more than by its own
        noise."""
        return _steepest(self.points) if _falls(self.points) else None

    @property
    def proposal(self) -> float | None:
        """The smaller of the steepest descent's rate and a tenth of the rate of divergence, to one digit; None where
        there is neither."""
        known = [self.steepest, None if self.diverged is None else self.diverged / 10]
        rates = [rate for rate in known if rate is not None]
        return float(f"{min(rates):.0e}") if rates and len(self.points) > _AT_LEAST else None


def rate_range(
    step: TrainStep,
    loader: EpochLoader,
    position: int = 0,
    num_steps: int = NUM_STEPS,
    before_step: Callable[[], None] = lambda: None,
) -> RateRange:
    """Takes steps at rates that rise exponentially, until the loss diverges; a collective. The weights are spoilt.

    position: the step that the losses see; it does not move, so that their weights stay. before_step:
    may raise, to end the test.
    """
    points: list[RatePoint] = []
    average = 0.0
    for number, batch in enumerate(_batches(loader, num_steps)):
        beat("step")
        before_step()
        rate = FIRST_RATE * (LAST_RATE / FIRST_RATE) ** (number / (num_steps - 1))
        result = step(batch, rate, position)
        if result.skipped:
            return RateRange(tuple(points), rate, result.skipped)
        loss = float(result.losses["loss"])
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        points.append(RatePoint(rate, loss, average / (1 - SMOOTHING ** (number + 1))))
        if number >= _AT_LEAST and _has_diverged(points):
            return RateRange(tuple(points), rate)
    return RateRange(tuple(points), None)


def _batches(loader: EpochLoader, number: int) -> Iterator[Batch]:
    """Batches of one epoch after the other."""
    epoch = 0
    while number:
        for batch in loader.epoch(epoch):
            yield batch
            number -= 1
            if not number:
                return
        epoch += 1


def _has_diverged(points: Sequence[RatePoint]) -> bool:
    best, first, last = min(point.smoothed for point in points), _first(points), points[-1].smoothed
    # A bounded loss, such as a ranking loss, cannot rise to a multiple: it has diverged where all that it had fallen is
    # lost again.
    return last > _RISE * abs(best) or (_falls(points) and last > first + (first - best) / 2)


def _falls(points: Sequence[RatePoint]) -> bool:
    """Whether the moving average fell by more than chance."""
    if len(points) <= 2 * _HALF_WINDOW:
        return False
    lowest, first = _lowest(points), _first(points)
    noise = stdev(point.loss - point.smoothed for point in points[: max(lowest, 2 * _AT_LEAST)])
    # Of the moving average, and of the mean of the first steps.
    error = noise * math.sqrt((1 - SMOOTHING) / (1 + SMOOTHING) + 1 / _AT_LEAST)
    return first - points[lowest].smoothed > max(_FALL * abs(first), _NOISES * error)


def _first(points: Sequence[RatePoint]) -> float:
    """The loss before the training does anything, from the first steps, whose rates are tiny."""
    return fmean(point.loss for point in points[:_AT_LEAST])


def _lowest(points: Sequence[RatePoint]) -> int:
    return min(range(_AT_LEAST, len(points)), key=lambda place: points[place].smoothed)


def _steepest(points: Sequence[RatePoint]) -> float:
    """By least squares over windows of steps, up to the lowest point of the moving average."""
    steps = range(-_HALF_WINDOW, _HALF_WINDOW + 1)

    def slope(place: int) -> float:
        return sum(step * points[place + step].loss for step in steps)

    last = min(_lowest(points), len(points) - 1 - _HALF_WINDOW)
    return points[min(range(_HALF_WINDOW, max(last, _HALF_WINDOW) + 1), key=slope)].rate
