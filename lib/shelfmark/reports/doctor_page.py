"""The page of `shelfmark doctor`: what is wrong with a data set, with pictures of each kind. Legend: C classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shelfmark.core.wording import counted
from shelfmark.reports.html.charts.axis import Axis
from shelfmark.reports.html.charts.chart import Chart
from shelfmark.reports.html.charts.layers import Line
from shelfmark.reports.html.page import Page, Section, write_page
from shelfmark.reports.html.parts import DataTable, Figure, Figures, Gallery, Number, Numbers, Part, Row, Rows, Text
from shelfmark.reports.html.pictures import Shown

FOOTER = "Written by shelfmark doctor. docs/doctor.md says how each kind is found, and what is not found."

_LIMIT_BYTES = 10_000_000
_POINTS = 200


@dataclass(frozen=True)
class ShownGroup:
    """Pictures that belong together. facts: a line each. num_more: pictures that are not shown."""

    title: str
    facts: tuple[str, ...]
    pictures: tuple[Shown, ...]
    num_more: int = 0


@dataclass(frozen=True)
class ShownFinding:
    """One kind of fault. told: how many there are. groups, or single pictures, or a table: what is shown of them.

    num_more: groups or pictures that are not shown. file: the list of all, as the page names it.
    """

    heading: str
    told: str
    explanation: str = ""
    groups: tuple[ShownGroup, ...] = ()
    pictures: tuple[Shown, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    num_more: int = 0
    file: str = ""


@dataclass(frozen=True, eq=False)
class DoctorPage:
    """summary: (kind, how many, images) of every kind. counts: (C,) different training images of each class."""

    title: str
    subtitle: str
    summary: tuple[tuple[str, str, str], ...]
    numbers: tuple[Number, ...]
    findings: tuple[ShownFinding, ...]
    counts: np.ndarray


def write_doctor_page(page: DoctorPage, path: Path) -> int:
    """Writes the HTML file, whole or not at all; returns the number of pictures for which it had no room."""
    summary = DataTable("Every kind that was looked for", ("", "found", "images"), page.summary)
    lead: list[Part] = [Numbers(page.numbers), summary]
    sections = [Section(one.heading, tuple(_parts(one)), one.explanation) for one in page.findings]
    if len(page.counts):
        figure = Figures((Figure("images_per_class", count_curve(page.counts)),))
        sections.append(Section("Images of each class", (figure,), _OF_CURVE))
    drawn = Page(page.title, page.subtitle, tuple(sections), tuple(lead), (FOOTER,))
    return write_page(drawn, path, limit_bytes=_LIMIT_BYTES)


def count_curve(counts: np.ndarray) -> Chart:
    """The classes (C,) from the largest to the smallest, by their number of images."""
    ordered = np.sort(counts)[::-1]
    places = np.unique(np.linspace(0, len(ordered) - 1, min(len(ordered), _POINTS)).round().astype(np.int64))
    said = (
        f"{counted(len(ordered), 'class')}: the largest has {counted(int(ordered[0]), 'image')}, the one in the middle"
        f" {int(ordered[len(ordered) // 2]):,}, the smallest {int(ordered[-1]):,}"
    )
    line = Line("", (places + 1).astype(float), ordered[places].astype(float), has_points=False)
    rank = Axis("classes, the largest first", "number", low=1.0)
    return Chart("Images of each class", said, rank, Axis("images", "counts"), (line,))


_OF_CURVE = "Different training images that can be read: copies count once. The axis is logarithmic."


def _parts(one: ShownFinding) -> Iterator[Part]:
    yield Text(one.told)
    if one.groups:
        yield Rows(tuple(map(_row, one.groups)), look="groups")
    if one.pictures:
        yield Gallery(one.pictures, one.num_more, "medium")
    elif one.num_more:
        yield Text(f"and {one.num_more:,} more", is_muted=True)
    if one.rows:
        yield DataTable(one.heading, one.columns, one.rows, is_text=True)
    if one.file:
        yield Text(f"The whole list: {one.file}", is_muted=True)


def _row(group: ShownGroup) -> Row:
    return Row(group.title, group.facts, group.pictures, group.num_more)


def some(shown: Sequence[Shown], most: int) -> tuple[tuple[Shown, ...], int]:
    """The first of the pictures, and how many more there are."""
    return tuple(shown[:most]), max(0, len(shown) - most)
