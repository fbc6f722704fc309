"""Confidence: how far a probability is from the share that is right, and what thresholds do. Legend: n images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from shelfmark.core.score_names import score_name
from shelfmark.ops.calibration_metrics import reliability
from shelfmark.reports.html.charts.axis import Axis
from shelfmark.reports.html.charts.chart import Chart
from shelfmark.reports.html.charts.layers import Bars, Layer, Line, Reference
from shelfmark.reports.html.page import Section
from shelfmark.reports.html.parts import Figure, Figures, Lacking, Part

_NUM_BINS = 15
_NUM_BARS = 10


@dataclass(frozen=True, eq=False)
class RiskCurves:
    """group -> (coverage, risk), shares, of one score. max_wrong: what is promised. answered: the share of pictures at
    which the promise's first threshold stands."""

    score: str
    by_group: Mapping[str, tuple[np.ndarray, np.ndarray]]
    max_wrong: float
    answered: float | None


def confidence_section(
    confidence: np.ndarray,
    is_right: np.ndarray,
    groups: Mapping[str, np.ndarray],
    risk: RiskCurves | None,
    thresholds_command: str,
) -> Section:
    """confidence: (n,) in 0..1. is_right: (n,) bool. groups: name -> (n,) bool, by training images of the class."""
    figures = [_reliability(confidence, is_right, groups), _held(confidence)]
    parts: list[Part] = []
    if risk is not None:
        figures.append(_risk(risk))
    else:
        parts.append(Lacking("Risk against coverage is shown where thresholds were learned.", thresholds_command))
    return Section(
        "Confidence",
        (Figures(tuple(figures)), *parts),
        "Below the dotted line a model is surer than it is right.",
    )


def _reliability(confidence: np.ndarray, is_right: np.ndarray, groups: Mapping[str, np.ndarray]) -> Figure:
    everyone = {"all": np.ones(len(confidence), dtype=bool), **groups}
    lines, errors = [], []
    for name, mask in everyone.items():
        found = reliability(torch.from_numpy(confidence[mask]), torch.from_numpy(is_right[mask]), _NUM_BINS)
        rows = [row for row in found.table if row["num_images"]]
        x, y = (np.array([row[column] for row in rows], dtype=float) for column in ("confidence", "accuracy"))
        shown = "all" if name == "all" else score_name(name)
        lines.append(Line(shown, x, y))
        errors.append(f"{shown} {100 * (found.expected_error or 0):.1f}%")
    ideal = Reference("as sure as right", (0, 0), (1, 1))
    said = f"expected calibration error: {'; '.join(errors)}"
    chart = Chart(
        "Reliability",
        said,
        Axis("confidence: probability of the answer", "percent", 0, 1),
        Axis("answers that are right", "percent", 0, 1),
        (*lines, ideal),
    )
    return Figure("reliability", chart, f"{said[0].upper()}{said[1:]}.")


def _held(confidence: np.ndarray) -> Figure:
    share, edges = np.histogram(confidence, np.linspace(0, 1, _NUM_BARS + 1))
    heights = share / max(1, len(confidence))
    bars = Bars("", (edges[1:] + edges[:-1]) / 2, heights, 0.9 / _NUM_BARS)
    said = f"{100 * heights[-1]:.1f}% of the answers have a probability of 90% or more"
    chart = Chart(
        "How sure the answers are", said, Axis("confidence", "percent", 0, 1), Axis("images", "percent", 0), (bars,)
    )
    return Figure("confidence", chart)


def _last(line: Line) -> str:
    """The end of a curve, which lies before 100% where pictures have no score."""
    answered = "all are" if line.x[-1] >= 1 else f"the {100 * line.x[-1]:.1f}% with a score are"
    return f"{100 * line.y[-1]:.1f}% wrong if {answered} answered"


def _risk(risk: RiskCurves) -> Figure:
    lines = [
        Line("all" if name == "all" else score_name(name), coverage, wrong, has_points=False)
        for name, (coverage, wrong) in risk.by_group.items()
    ]
    layers: list[Layer] = [
        *lines,
        Reference(f"promise: {100 * risk.max_wrong:g}% wrong", (None, risk.max_wrong), (1, risk.max_wrong)),
    ]
    if risk.answered is not None:
        layers.append(Reference("threshold", (risk.answered, 0), (risk.answered, None)))
    said = "; ".join(f"{line.name}: {_last(line)}" for line in lines if len(line.y))
    x, y = Axis("images answered", "percent", 0, 1), Axis("answers that are wrong", "percent", 0)
    return Figure("risk_coverage", Chart(f"Risk against coverage, by {risk.score}", said, x, y, tuple(layers)))
