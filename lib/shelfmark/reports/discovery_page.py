"""The page of a round of discovery: numbers, charts, rows of small pictures, tables and plots, drawn by the kit.

The file includes its pictures, so it can be sent to people who know the products.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shelfmark.data.sources import Picture
from shelfmark.reports.html.charts.axis import Axis
from shelfmark.reports.html.charts.chart import Chart
from shelfmark.reports.html.charts.layers import Line as DrawnLine
from shelfmark.reports.html.page import Page
from shelfmark.reports.html.page import Section as PageSection
from shelfmark.reports.html.page import write_page as write_html
from shelfmark.reports.html.parts import DataTable, Figure, Figures, Number, Numbers, Part, PlotFile, Row, Rows
from shelfmark.reports.html.pictures import Shown
from shelfmark.reports.thumbnails import SIDE_PX

# Of a hundred products with fifteen pictures each; it is no mail, and nothing shall be left out.
_LIMIT_BYTES = 30_000_000


@dataclass(frozen=True)
class Point:
    """value, low, high: shares in 0..1; without an interval low and high are None."""

    place: int
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class LineChart:
    """lines: over the rounds."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class ShownPicture:
    """picture: None where there is none to show. note: shown when a pointer rests on it."""

    picture: Picture | None
    note: str = ""


@dataclass(frozen=True)
class ShownProduct:
    """A row of pictures. facts: a line each. like: the most similar product, with a picture of it.

    num_more: the number of images that are not shown. truth: the true product, where it is known.
    """

    title: str
    facts: tuple[str, ...]
    pictures: tuple[ShownPicture, ...]
    num_more: int = 0
    like: str = ""
    like_picture: ShownPicture | None = None
    truth: str = ""


@dataclass(frozen=True)
class Section:
    """products: in the order of the page. empty: the sentence that is shown if there are none."""

    heading: str
    explanation: str
    products: tuple[ShownProduct, ...]
    empty: str = "There is none in this round."


@dataclass(frozen=True)
class ScoresTable:
    heading: str
    explanation: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Plot:
    """path: of a PNG file, which the page takes in."""

    heading: str
    explanation: str
    path: Path


@dataclass(frozen=True)
class HtmlPage:
    title: str
    subtitle: str
    numbers: tuple[Number, ...]
    charts: tuple[LineChart, ...]
    sections: tuple[Section, ...]
    tables: tuple[ScoresTable, ...]
    plots: tuple[Plot, ...]
    footer: str = ""


def write_page(page: HtmlPage, path: Path) -> None:
    """Writes the HTML file, whole or not at all. The same page gives the same bytes."""
    lead: list[Part] = [Numbers(page.numbers)] if page.numbers else []
    if page.charts:
        lead.append(Figures(tuple(Figure(f"chart{place}", chart(one)) for place, one in enumerate(page.charts))))
    footer = (page.footer,) if page.footer else ()
    drawn = Page(page.title, page.subtitle, tuple(_sections(page)), tuple(lead), footer)
    write_html(drawn, path, limit_bytes=_LIMIT_BYTES, side_px=SIDE_PX)


def chart(rounds: LineChart) -> Chart:
    """The chart of scores over the rounds, in percent."""
    lines = [line for line in rounds.lines if line.points]
    places = sorted({point.place for line in lines for point in line.points})
    said = "; ".join(f"{line.name}, round {line.points[-1].place}: {_value_told(line.points[-1])}" for line in lines)
    axis = Axis("round", labels=tuple(map(str, places)) or ("0",))
    return Chart(rounds.title, said, axis, Axis("", "percent"), tuple(_line(line, places) for line in lines))


def _line(line: Line, places: list[int]) -> DrawnLine:
    x = np.array([places.index(point.place) for point in line.points], dtype=float)
    y, low, high = np.array([[point.value, point.low, point.high] for point in line.points], dtype=float).T
    notes = tuple(f"{line.name}, {point.place}: {_value_told(point)}" for point in line.points)
    return DrawnLine(line.name, x, y, low, high, notes=notes)


def _value_told(point: Point) -> str:
    interval = "" if point.low is None or point.high is None else f" ({100 * point.low:.1f} - {100 * point.high:.1f})"
    return f"{100 * point.value:.1f}%{interval}"


def _sections(page: HtmlPage) -> Iterator[PageSection]:
    for section in page.sections:
        rows = Rows(tuple(map(_row, section.products)), section.empty)
        yield PageSection(section.heading, (rows,), section.explanation)
    for table in page.tables:
        yield PageSection(table.heading, (DataTable(table.heading, table.columns, table.rows),), table.explanation)
    for plot in page.plots:
        yield PageSection(plot.heading, (PlotFile(plot.path.read_bytes(), plot.heading),), plot.explanation)


def _row(product: ShownProduct) -> Row:
    aside = None
    if product.like:
        picture = product.like_picture or ShownPicture(None)
        aside = Shown(picture.picture, picture.note, product.like)
    pictures = tuple(Shown(one.picture, one.note) for one in product.pictures)
    return Row(product.title, product.facts, pictures, product.num_more, aside, product.truth)
