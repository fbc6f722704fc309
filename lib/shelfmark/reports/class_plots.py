"""Plots of the classes against how often each was seen in training. Legend: C classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.reports.figures import BLUE, FAINT, INK, MUTED, new_figure, save, style

_BINS_PER_DECADE = 5
_NORMAL_95 = 1.96
_SOFT = {"linewidth": 0, "alpha": 0.5}
# Lines are told apart without their colours too.
_MEANS = {"color": BLUE, "marker": "o", "linestyle": "-"}
_CLASSIFIERS = (
    {"color": MUTED, "marker": "^", "linestyle": ":"},
    {"color": FAINT, "marker": "s", "linestyle": "--"},
    _MEANS,
)


def accuracy_by_frequency(
    train_counts: np.ndarray, accuracy: np.ndarray, path: Path, many: int = 100, few: int = 20
) -> None:
    """Each class's accuracy on val against its training images, with the means of classes of similar size.

    train_counts: (C,) training images. accuracy: (C,) in 0..1, NaN for a class that was not scored. many, few: the
    limits of the groups.
    """
    is_scored = ~np.isnan(accuracy)
    train_counts, percent = train_counts[is_scored], 100 * accuracy[is_scored]
    figure = new_figure(height_in=5.2)
    axes = figure.subplots()
    axes.scatter(train_counts, percent, s=_dot_area(len(percent)), color=FAINT, label="a class", **_SOFT)
    _draw_means(axes, train_counts, percent, label="mean of classes alike in number, 95% interval", **_MEANS)
    axes.set_ylim(-4, 104)
    axes.set_ylabel("class accuracy on val (%)")
    _count_axis(axes, train_counts)
    for limit, name in ((few, "few-shot <"), (many, "many-shot >")):
        if len(percent) and train_counts.min() < limit < train_counts.max():
            axes.axvline(limit, color=INK, linewidth=1, linestyle=(0, (2, 3)))
            axes.text(limit, 1.01, f"{name} {limit}", transform=axes.get_xaxis_transform(), ha="center", fontsize=9)
    _finish(figure, axes, path)


def weight_norms(train_counts: np.ndarray, norms: Mapping[str, np.ndarray], path: Path) -> None:
    """Length of each class's classifier row against its training images.

    train_counts: (C,) training images. norms: name -> lengths (C,), of one to three classifiers. The last is drawn in
    front, so give the recalibrated classifier after the original one.
    """
    figure = new_figure(height_in=5.2)
    axes = figure.subplots()
    for name, look in zip(norms, _CLASSIFIERS[-len(norms) :], strict=True):
        dots = {"color": look["color"], "marker": look["marker"], "s": _dot_area(len(train_counts))}
        axes.scatter(train_counts, norms[name], **dots, **_SOFT)
        _draw_means(axes, train_counts, norms[name], label=name, **look)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("length of the class's classifier row")
    _count_axis(axes, train_counts)
    _finish(figure, axes, path)


@dataclass(frozen=True, eq=False)
class BinnedMeans:
    """For each bin with a class: its place on the axis, the mean, and the ends of the mean's 95% interval.

    low, high: NaN for a bin of one class, which has no spread.
    """

    place: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def binned_means(train_counts: np.ndarray, values: np.ndarray) -> BinnedMeans:
    """Means of values (C,) in bins by training images, five bins a decade; classes without images are one bin.

    A bin stands at the geometric mean of its classes' images. The interval is 1.96 standard errors over its classes
    to either side, but no wider than their values.
    """
    logs = np.log10(np.maximum(train_counts, 1))
    # Half a bin lower, so that the powers of ten lie in the middle of a bin.
    numbers = np.where(train_counts > 0, np.floor(logs * _BINS_PER_DECADE + 0.5), -1)
    rows = []
    for number in np.unique(numbers):
        inside = numbers == number
        place = 0.0 if number < 0 else 10 ** logs[inside].mean()
        rows.append((place, *_mean_and_interval(values[inside])))
    return BinnedMeans(*np.array(rows, dtype=float).reshape(-1, 4).T)


def _mean_and_interval(values: np.ndarray) -> tuple[float, float, float]:
    mean = values.mean()
    if len(values) == 1:
        return mean, np.nan, np.nan
    half = _NORMAL_95 * values.std(ddof=1) / len(values) ** 0.5
    return mean, max(mean - half, values.min()), min(mean + half, values.max())


def _draw_means(axes: Any, train_counts: np.ndarray, values: np.ndarray, label: str, **look: Any) -> None:
    means = binned_means(train_counts, values)
    if len(means.place):
        reach = np.stack([means.mean - means.low, means.high - means.mean]).clip(min=0)
        bars = {"elinewidth": 1.4, "capsize": 3, "linewidth": 2, "markersize": 5}
        axes.errorbar(means.place, means.mean, yerr=reach, label=label, **bars, **look)


def _count_axis(axes: Any, train_counts: np.ndarray) -> None:
    """A logarithmic axis with plain numbers, on which 0 has a place too."""
    axes.set_xlabel("training images of the class")
    if not len(train_counts):
        return
    lowest, highest = int(train_counts.min()), max(1, int(train_counts.max()))
    # Below 1 the axis is linear, in the room of a third of a decade.
    axes.set_xscale("symlog", linthresh=1, linscale=1 / 3)
    ticks = [step * 10**power for power in range(len(str(highest))) for step in (1, 2, 5)]
    ticks = [tick for tick in (0, *ticks) if lowest <= tick <= highest]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_xlim(lowest / 1.2 if lowest else -0.3, highest * 1.2)


def _dot_area(num_classes: int) -> float:
    return float(np.clip(4000 / max(1, num_classes), 5, 22))


def _finish(figure: Any, axes: Any, path: Path) -> None:
    style(axes)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=10, handlelength=3.4)
    save(figure, path)
