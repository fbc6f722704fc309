"""Retrieval: strips of queries with their neighbours, CMC, and how near positives are. Legend: n queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shelfmark.core.score_names import score_name
from shelfmark.core.wording import counted
from shelfmark.reports.html.charts.axis import Axis
from shelfmark.reports.html.charts.chart import Chart
from shelfmark.reports.html.charts.layers import Bars, Line
from shelfmark.reports.html.page import Section
from shelfmark.reports.html.parts import DataTable, Figure, Figures, Folded, Lacking, Part, Row, Rows
from shelfmark.reports.html.pictures import Shown

_BINS = 20


@dataclass(frozen=True)
class Strip:
    """A query and its nearest, the most similar first, each marked as right or wrong."""

    name: str
    facts: tuple[str, ...]
    query: Shown
    nearest: tuple[Shown, ...]


@dataclass(frozen=True, eq=False)
class Retrieval:
    """Of n queries with a positive, of total: cmc: group -> Recall@1, @2 ...; positive, negative: (n,) similarity of
    the best positive and the hardest negative. index: facts of a tuned index, () without one."""

    strips: Mapping[str, tuple[Strip, ...]]
    cmc: Mapping[str, np.ndarray]
    positive: np.ndarray
    negative: np.ndarray
    total: int
    metric: str
    index: tuple[tuple[str, ...], ...] = ()
    index_command: str = ""
    open_strips: tuple[str, ...] = ()


def retrieval_section(found: Retrieval) -> Section:
    """Strips, CMC by group, positives against negatives, and the recall of an index."""
    parts: list[Part] = [Figures((_cmc(found), _similarities(found)))]
    for name, strips in found.strips.items():
        parts.append(Folded(name, (Rows(tuple(map(_row, strips)), look="strips"),), is_open=name in found.open_strips))
    if found.index:
        columns = ("index", "recall of the exact ten nearest", "search")
        parts.append(DataTable("The recall of an index, measured as it was built", columns, found.index, is_text=True))
    else:
        told = "Recall against what a search reads is shown where an index was tuned; this run has none."
        parts.append(Lacking(told, found.index_command))
    number = len(found.positive)
    sampled = f", {number:,} of {found.total:,} drawn at random" if number < found.total else ""
    return Section(
        "Retrieval", tuple(parts), f"Each of {counted(number, 'query')}{sampled} is searched in the gallery."
    )


def _row(strip: Strip) -> Row:
    return Row(strip.name, strip.facts, (strip.query, *strip.nearest))


def _cmc(found: Retrieval) -> Figure:
    lines = [
        Line("all" if name == "all" else score_name(name), np.arange(1, len(values) + 1, dtype=float), values)
        for name, values in found.cmc.items()
    ]
    said = "; ".join(
        f"{line.name}: {100 * line.y[0]:.1f}% at 1, {100 * line.y[-1]:.1f}% at {len(line.y)}" for line in lines
    )
    chart = Chart(
        "A right product among the first K",
        said,
        Axis("K", low=0),
        Axis("queries (CMC, Recall@K)", "percent", 0, 1),
        tuple(lines),
    )
    return Figure("cmc", chart)


def _similarities(found: Retrieval) -> Figure:
    values = np.concatenate([found.positive, found.negative[np.isfinite(found.negative)]])
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    middles, width = (edges[1:] + edges[:-1]) / 2, float(edges[1] - edges[0])
    share = [
        np.histogram(np.clip(one, edges[0], edges[-1]), edges)[0] / max(1, len(found.positive))
        for one in (found.positive, found.negative[np.isfinite(found.negative)])
    ]
    shift = width * 0.22
    bars = (
        Bars("best positive", middles - shift, share[0], width * 0.42),
        Bars("hardest negative", middles + shift, share[1], width * 0.42, shade=1),
    )
    nearer = float((found.positive > found.negative).mean()) if len(found.positive) else 0.0
    said = f"in {100 * nearer:.1f}% of the queries the best positive is nearer than the hardest negative"
    chart = Chart(
        "Positives against the hardest negatives",
        said,
        Axis(f"{found.metric} similarity"),
        Axis("queries", "percent", 0),
        bars,
    )
    return Figure("similarity", chart, f"{100 * nearer:.1f}% of the queries have the best positive in front.")
