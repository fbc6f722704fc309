"""Every pair of lines of a figure is told apart in print too: by dashes or by the shape of its points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from shelfmark.ops.calibration_metrics import reliability
from shelfmark.reports.class_plots import accuracy_by_frequency, weight_norms
from shelfmark.reports.cluster_plots import cluster_sizes
from shelfmark.reports.html.charts.axis import Axis
from shelfmark.reports.html.charts.chart import Chart
from shelfmark.reports.html.charts.layers import Bars, Line
from shelfmark.reports.plots import curves, tau_curve
from shelfmark.reports.reliability import reliability_diagram

COUNTS = np.array([1, 3, 10, 40, 200, 500])


def _records() -> list[dict[str, Any]]:
    steps = [{"kind": "train", "step": step, "epoch": 0, "loss": 1 / step, "lr": 0.1} for step in (1, 2, 3)]
    ends = [
        {"kind": kind, "step": 2 * epoch + 2, "epoch": epoch, "loss": 0.5, "lr": 0.1, "top1": 0.1 * epoch}
        for epoch in range(3)
        for kind in ("epoch", "val")
    ]
    return [*steps, *ends]


def _sweep() -> list[dict[str, Any]]:
    scores = {"top1": 0.5, "many": 0.7, "medium": 0.5, "few": 0.2}
    taus: list[float | None] = [None, *np.linspace(0, 1, 11).tolist()]
    return [{"tau": tau, "mean_class_accuracy": 0.3 + 0.1 * (tau or 0), **scores} for tau in taus]


def _norms(number: int) -> dict[str, np.ndarray]:
    return {f"classifier {one}": COUNTS ** (0.1 * one) for one in range(number)}


BINS = [
    {
        "smallest": 1,
        "largest": 1,
        "num_clusters": 9,
        "num_selected_clusters": 4,
        "num_images": 9,
        "num_selected_images": 4,
    }
]
FIGURES: dict[str, Callable[[Path], None]] = {
    "curves": lambda path: curves(_records(), path, "top1"),
    "tau": lambda path: tau_curve(_sweep(), path, 0.5),
    "tau of the unmodified": lambda path: tau_curve(_sweep(), path, None),
    "accuracy": lambda path: accuracy_by_frequency(COUNTS, np.linspace(0, 1, 6), path),
    "norms": lambda path: weight_norms(COUNTS, _norms(2), path),
    "norms of three": lambda path: weight_norms(COUNTS, _norms(3), path),
    "reliability": lambda path: reliability_diagram(reliability(torch.rand(50), torch.rand(50) < 0.5), path),
    "clusters": lambda path: cluster_sizes(BINS, path),
}


@pytest.mark.parametrize("name", FIGURES)
def test_two_lines_of_a_figure_differ_by_more_than_their_colours(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **_: (drawn.append(figure), Path(file).touch()))
    FIGURES[name](tmp_path / "figure.png")
    [figure] = drawn
    told = 0
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        # Of a container of bars its first bar, of a line with intervals the line, and dots are dots.
        looks = [_look(handle if isinstance(handle, Artist) else handle[0]) for handle in handles]
        assert len(set(looks)) == len(looks), labels
        told += len(looks) > 1
    assert told


def _look(artist: Artist) -> tuple[object, ...]:
    """What is left of it in black and white."""
    if isinstance(artist, Line2D):
        dashes = artist._unscaled_dash_pattern if artist.get_linestyle() != "None" else None
        return "line", dashes, artist.get_marker()
    return type(artist).__name__, artist.get_width() if isinstance(artist, Rectangle) else None


def test_two_lines_of_a_chart_on_a_page_differ_by_more_than_their_colours() -> None:
    x = np.arange(3.0)
    lines = tuple(Line(name, x, 0.1 * x, 0.05 * x, 0.2 * x) for name in "abcdef")
    tree = ElementTree.fromstring(Chart("score", "", Axis("round"), Axis("score"), lines).svg("one"))
    dashes = [one.attrib.get("stroke-dasharray") for one in tree.iter("polyline")]
    assert len(dashes) == len(set(dashes)) == 6
    marks = [one.attrib["d"] for one in tree.iter("path") if one.attrib.get("class", "").startswith("mark")]
    assert len(marks) == 6 * (3 + 1)  # three points each, and one in the legend
    assert len(set(marks)) == 6
    # The legend shows each line as it is drawn.
    drawn = [one for one in tree.iter("path") if one.attrib.get("class", "").startswith("line")]
    assert [one.attrib.get("stroke-dasharray") for one in drawn] == dashes


def test_two_kinds_of_bars_of_a_chart_on_a_page_differ_by_their_hatching() -> None:
    x = np.arange(2.0)
    bars = tuple(Bars(f"kind {shade}", x, x + 1, 0.2, shade=shade) for shade in (0, 1, 2, 3))
    tree = ElementTree.fromstring(Chart("sizes", "", Axis("size"), Axis("images"), bars).svg("one"))
    fills = [one.attrib.get("style") for one in tree.iter("rect") if one.attrib.get("class", "").startswith("bar")]
    assert len(set(fills)) == 4
    patterns = {one.attrib["id"]: one.find("path").attrib["d"] for one in tree.iter("pattern")}  # type: ignore[union-attr]
    assert len(set(patterns.values())) == 3
    assert {f"fill:url(#{name})" for name in patterns} == set(fills) - {None}
