"""The run over its epochs: loss, score, rate, gradient norms, speed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from shelfmark.core.score_names import score_name
from shelfmark.reports.html.charts.axis import Axis
from shelfmark.reports.html.charts.chart import Chart
from shelfmark.reports.html.charts.layers import Line
from shelfmark.reports.html.page import Section
from shelfmark.reports.html.parts import Figure, Figures, Lacking
from shelfmark.reports.plots import epochs_of

Record = Mapping[str, Any]
_MOST_POINTS = 400
_MOST_NORMS = 4


def curves_section(records: Sequence[Record], metric: str, command: str) -> Section:
    """records: of metrics.jsonl. metric: the score that chose the checkpoint. command: that would train again."""
    heading = "Curves"
    if not records:
        return Section(heading, (Lacking("metrics.jsonl is not in the folder, so there are no curves.", command),))
    place = epochs_of(records)
    name = "epochs done" if any(one["kind"] == "epoch" for one in records) else "steps"
    figures = [
        _figure("loss", "Training loss", name, "loss", _losses(records, place)),
        _figure("score", "Score on val", name, "score", _scores(records, metric, place), "percent"),
        _figure("rate", "Learning rate", name, "rate", _lines(records, "train", {"lr": "learning rate"}, place)),
        _figure("gradient_norms", "Gradient norms", name, "L2 norm", _norms(records, place), "log"),
        _figure(
            "speed", "Images a second", name, "images/s", _lines(records, "epoch", {"images_per_s": "speed"}, place)
        ),
        _figure("data_wait", "Waiting for images", name, "share of the time", _waits(records, place), "percent"),
    ]
    shown = tuple(figure for figure in figures if figure is not None)
    return Section(heading, (Figures(shown),), "From the first epoch to the last, as metrics.jsonl has them.")


def _figure(file: str, title: str, x: str, y: str, lines: list[Line], kind: Any = "number") -> Figure | None:
    if not lines:
        return None
    low = None if kind == "log" else 0.0
    said = "; ".join(_told(line, kind) for line in lines)
    return Figure(file, Chart(title, said, Axis(x, low=0), Axis(y, kind, low=low), tuple(lines)))


def _told(line: Line, kind: str) -> str:
    def text(value: float) -> str:
        return f"{100 * value:.1f}%" if kind == "percent" else f"{value:.4g}"

    first, last, least, most = map(text, (line.y[0], line.y[-1], line.y.min(), line.y.max()))
    return f"{line.name} from {first} to {last}, between {least} and {most}"


def _losses(records: Sequence[Record], place: Callable[[float], float]) -> list[Line]:
    steps = _lines(records, "train", {"loss": "at a step"}, place, has_points=False)
    return steps + _lines(records, "epoch", {"loss": "mean of the epoch"}, place)


def _scores(records: Sequence[Record], metric: str, place: Callable[[float], float]) -> list[Line]:
    names = {metric: score_name(metric)} | {one: score_name(one) for one in ("many", "medium", "few") if one != metric}
    return _lines(records, "val", names, place)


def _norms(records: Sequence[Record], place: Callable[[float], float]) -> list[Line]:
    found = dict.fromkeys(name for one in records for name in one if name.startswith("grad_norm/"))
    parts = {name: name.removeprefix("grad_norm/") for name in list(found)[:_MOST_NORMS]}
    return _lines(records, "train", {"grad_norm": "all weights", **parts}, place, has_points=False)


def _waits(records: Sequence[Record], place: Callable[[float], float]) -> list[Line]:
    return _lines(records, "epoch", {"data_wait_share": "data wait"}, place)


def _lines(
    records: Sequence[Record],
    kind: str,
    names: Mapping[str, str],
    place: Callable[[float], float],
    has_points: bool = True,
) -> list[Line]:
    lines = []
    for name, shown in names.items():
        points = [(place(one["step"]), one[name]) for one in records if one["kind"] == kind and _is_number(one, name)]
        if points:
            x, y = np.array(_thinned(points), dtype=float).T
            lines.append(Line(shown, x, y, has_points=has_points))
    return lines


def _is_number(record: Record, name: str) -> bool:
    return isinstance(record.get(name), int | float) and math.isfinite(record[name])


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `_MOST_POINTS` of them, evenly, with the first and the last."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    return [points[place] for place in np.linspace(0, len(points) - 1, _MOST_POINTS).round().astype(int)]
