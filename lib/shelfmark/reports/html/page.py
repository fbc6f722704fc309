"""A page as one HTML file, and the files of its figures beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shelfmark.core.files import write_text
from shelfmark.core.wording import counted
from shelfmark.reports.html.charts.svg_file import svg_file
from shelfmark.reports.html.environment import file_text, rendered, safe_markup
from shelfmark.reports.html.parts import Figure, Part, figures_in
from shelfmark.reports.html.pictures import SIDE_PX, PictureBudget
from shelfmark.reports.tables import write_table
from shelfmark.reports.thumbnails import Thumbnails

LIMIT_BYTES = 3_000_000


@dataclass(frozen=True)
class Section:
    """explanation: how to read what follows, in a sentence or two."""

    heading: str
    parts: tuple[Part, ...]
    explanation: str = ""


@dataclass(frozen=True)
class Page:
    """lead: parts that stand before the contents. footer: a line each."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    lead: tuple[Part, ...] = ()
    footer: tuple[str, ...] = field(default=())


def write_page(
    page: Page, path: Path, figures_folder: str = "", limit_bytes: int = LIMIT_BYTES, side_px: int = SIDE_PX
) -> int:
    """Writes the HTML file, whole or not at all. The same page gives the same bytes.

    figures_folder: the name of a folder beside the file, where each figure is written as SVG and CSV and which the page
    links to; "" writes none. limit_bytes: pictures are left out, from the end of the page on, until the file is no
    larger; the page says how many. Returns the number of pictures left out.
    """
    html, num_left_out = page_html(page, figures_folder, limit_bytes, side_px)
    if figures_folder:
        figures = all_figures(page)
        names = [figure.name for figure in figures]
        assert len(set(names)) == len(names), f"two figures of one name: {sorted(names)}"
        write_figures(figures, path.parent / figures_folder)
    write_text(path, html)
    return num_left_out


def page_html(
    page: Page, figures_folder: str = "", limit_bytes: int = LIMIT_BYTES, side_px: int = SIDE_PX
) -> tuple[str, int]:
    """The text of the file, and the number of pictures that were left out."""
    made = Thumbnails(side_px)
    room = limit_bytes
    while True:
        budget = PictureBudget(room, side_px, made)
        html = _html(page, figures_folder, budget)
        excess = len(html.encode()) - limit_bytes
        if excess <= 0 or not budget.used_bytes:
            return html, budget.num_left_out
        room = max(0, budget.used_bytes - excess - 1000)


def all_figures(page: Page) -> list[Figure]:
    """The charts of a page, in its order."""
    return figures_in([*page.lead, *(part for section in page.sections for part in section.parts)])


def write_figures(figures: Sequence[Figure], folder: Path) -> None:
    """Writes `<name>.svg` and `<name>.csv` of each figure."""
    folder.mkdir(parents=True, exist_ok=True)
    for figure in figures:
        write_text(folder / f"{figure.name}.svg", svg_file(figure.chart))
        write_table(folder / f"{figure.name}.csv", figure.chart.rows(), figure.chart.columns())


def _html(page: Page, figures_folder: str, budget: PictureBudget) -> str:
    return rendered(
        "page.html",
        page=page,
        style=safe_markup(file_text("chart.css") + file_text("page.css")),
        anchors=[f"s{number}" for number in range(1, len(page.sections) + 1)],
        figures_folder=figures_folder,
        pictures=budget,
        counted=counted,
        svg=lambda figure: safe_markup(figure.chart.svg(figure.name)),
    )
