"""The tail: how a class's score depends on its training images. Legend: C classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shelfmark.core.score_names import score_name
from shelfmark.ops.class_metrics import GROUPS
from shelfmark.reports.class_plots import binned_means
from shelfmark.reports.html.charts.axis import Axis
from shelfmark.reports.html.charts.chart import Chart
from shelfmark.reports.html.charts.layers import Bars, Dots, Layer, Line, Reference
from shelfmark.reports.html.page import Section
from shelfmark.reports.html.parts import Figure, Figures, Lacking, Part

_MOST_DOTS = 1500
_CLASSES = Axis("training images of the class", "counts")


@dataclass(frozen=True, eq=False)
class Tail:
    """counts: (C,) training images. accuracy: (C,) on val, NaN for a class without images there; None without val.

    norms: name -> (C,) lengths of the classifier's rows, the recalibrated ones last. map_at_r: mAP@R of each class with
    a query. map_counts: training images of those classes, None where they are not the trained ones.
    """

    counts: np.ndarray
    accuracy: np.ndarray | None
    summary: Mapping[str, Any]
    many: int
    few: int
    norms: Mapping[str, np.ndarray]
    map_at_r: np.ndarray | None
    map_counts: np.ndarray | None
    lacking: tuple[Lacking, ...] = ()


def tail_section(tail: Tail) -> Section:
    """Accuracy, groups, counts, weight norms and mAP@R against the size of a class."""
    figures: list[Figure] = []
    if tail.accuracy is not None:
        figures.append(_accuracy(tail, tail.accuracy))
    if any(tail.summary.get(name) is not None for name in GROUPS):
        figures.append(_groups(tail))
    figures.append(_count_curve(tail))
    if tail.norms:
        figures.append(_norms(tail))
    if tail.map_at_r is not None and len(tail.map_at_r):
        figures.append(_map(tail, tail.map_at_r))
    parts: list[Part] = [Figures(tuple(figures)), *tail.lacking]
    return Section(
        "The tail",
        tuple(parts),
        f"{len(tail.counts):,} classes, by their training images: many-shot have more than {tail.many}, few-shot fewer"
        f" than {tail.few}.",
    )


def _accuracy(tail: Tail, accuracy: np.ndarray) -> Figure:
    is_scored = np.isfinite(accuracy)
    counts, values = tail.counts[is_scored], accuracy[is_scored]
    layers: list[Layer] = [*_dots("a class", counts, values), _means("mean of classes alike in number", counts, values)]
    for limit, name in ((tail.few, "limit of few-shot"), (tail.many, "limit of many-shot")):
        if len(counts) and counts.min() < limit < counts.max():
            layers.append(Reference(name, (limit, None), (limit, None)))
    said = _means_told(counts, values)
    chart = Chart(
        "Accuracy against class size", said, _CLASSES, Axis("accuracy on val", "percent", 0, 1), tuple(layers)
    )
    return Figure("accuracy_by_class_size", chart, _sampled(len(values)) + "Band: 95% interval of the mean.")


def _groups(tail: Tail) -> Figure:
    names = [name for name in GROUPS if tail.summary.get(name) is not None]
    places = np.arange(len(names), dtype=float)
    values, low, high = (
        np.array([_value(tail.summary.get(f"{name}{end}")) for name in names]) for end in ("", "_low", "_high")
    )
    layers: list[Layer] = [Bars("mean class accuracy", places, values, 0.6, low, high)]
    said = "; ".join(f"{score_name(name)} {100 * value:.1f}%" for name, value in zip(names, values))
    axis = Axis("classes by training images", labels=tuple(score_name(name) for name in names))
    chart = Chart("Many, medium, few", said, axis, Axis("accuracy on val", "percent", 0), tuple(layers))
    return Figure("accuracy_by_group", chart, "Lines: 95% intervals." if np.isfinite(low).any() else "")


def _count_curve(tail: Tail) -> Figure:
    counts = np.sort(tail.counts)[::-1]
    places = np.unique(np.geomspace(1, len(counts), 200).round().astype(int)) if len(counts) else np.zeros(0, int)
    line = Line("training images", places.astype(float), counts[places - 1].astype(float), has_points=False)
    median = int(np.median(counts))
    said = f"the largest class has {counts[0]:,} images, the median {median:,}, the smallest {counts[-1]:,}"
    chart = Chart(
        "Training images of each class",
        said,
        Axis("class, the largest first", "counts"),
        Axis("images", "counts"),
        (line,),
    )
    return Figure("class_sizes", chart)


def _norms(tail: Tail) -> Figure:
    layers: list[Layer] = []
    for name, values in tail.norms.items():
        if not layers:
            layers += _dots("a class", tail.counts, values)
        layers.append(_means(name, tail.counts, values))
    said = "; ".join(f"{name}: {_means_told(tail.counts, values, '')}" for name, values in tail.norms.items())
    chart = Chart("Length of the classifier's rows", said, _CLASSES, Axis("length", low=0), tuple(layers))
    return Figure("weight_norms", chart, "A longer row makes a class win more often.")


def _map(tail: Tail, values: np.ndarray) -> Figure:
    score = Axis("mAP@R", "percent", 0, 1)
    num_none, num_all = int((values == 0).sum()), int((values == 1).sum())
    said = f"mean {100 * values.mean():.1f}%, {num_none:,} classes at 0, {num_all:,} at 100%"
    if tail.map_counts is not None:
        layers = (*_dots("a class", tail.map_counts, values), _means("mean", tail.map_counts, values))
        return Figure("map_at_r_by_class_size", Chart("mAP@R by class", said, _CLASSES, score, layers))
    share = np.arange(1, len(values) + 1) / len(values)
    kept = np.unique(np.linspace(0, len(values) - 1, min(len(values), 200)).round().astype(int))
    line = Line("classes, the worst first", share[kept], np.sort(values)[kept], has_points=False)
    axis = Axis("share of the classes", "percent", 0, 1)
    return Figure("map_at_r_of_classes", Chart("mAP@R by class", said, axis, score, (line,)))


def _dots(name: str, counts: np.ndarray, values: np.ndarray) -> Sequence[Layer]:
    kept = np.linspace(0, len(values) - 1, min(len(values), _MOST_DOTS)).round().astype(int)
    # By number, so that dots from everywhere stay.
    kept = np.argsort(counts, kind="stable")[kept] if len(values) else kept
    return [Dots(name, counts[kept].astype(float), values[kept], len(values))]


def _means(name: str, counts: np.ndarray, values: np.ndarray) -> Line:
    means = binned_means(counts, values)
    return Line(name, means.place, means.mean, means.low, means.high)


def _means_told(counts: np.ndarray, values: np.ndarray, unit: str = "%") -> str:
    means = binned_means(counts, values)
    if not len(means.place):
        return "no class was scored"
    scale = 100 if unit else 1
    first, last = scale * means.mean[0], scale * means.mean[-1]
    return f"{first:.3g}{unit} at {means.place[0]:.0f} images, {last:.3g}{unit} at {means.place[-1]:.0f}"


def _sampled(number: int) -> str:
    return f"Dots: {_MOST_DOTS:,} of {number:,} classes. " if number > _MOST_DOTS else ""


def _value(value: Any) -> float:
    return float("nan") if value is None else float(value)
