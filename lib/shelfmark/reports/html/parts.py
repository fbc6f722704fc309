"""What a section of a page is made of. A part names the template that shows it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from shelfmark.reports.html.charts.chart import Chart
from shelfmark.reports.html.pictures import Shown


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    template: ClassVar[str] = "text.html"
    text: str
    is_muted: bool = False


@dataclass(frozen=True)
class Lacking:
    """Why a part is not here, and the command that would make it."""

    template: ClassVar[str] = "lacking.html"
    text: str
    command: str = ""


@dataclass(frozen=True)
class Number:
    """value: as text. note: a small line below, such as an interval."""

    value: str
    name: str
    note: str = ""


@dataclass(frozen=True)
class Numbers:
    template: ClassVar[str] = "numbers.html"
    numbers: tuple[Number, ...]


@dataclass(frozen=True)
class Step:
    """Something to do. reason: why. command: exactly what to type."""

    title: str
    reason: str
    command: str = ""


@dataclass(frozen=True)
class Steps:
    template: ClassVar[str] = "steps.html"
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class DataTable:
    """caption: says what the rows are. The first cell of a row is its heading."""

    template: ClassVar[str] = "table.html"
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    is_text: bool = False
    """Cells are words, set to the left; otherwise numbers, set to the right."""


@dataclass(frozen=True)
class Definitions:
    """Names and what they stand for."""

    template: ClassVar[str] = "definitions.html"
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Figure:
    """A chart. name: of its files beside the page, `<name>.svg` and `<name>.csv`; unique on a page."""

    name: str
    chart: Chart
    note: str = ""


@dataclass(frozen=True)
class Figures:
    """Charts side by side, as many as the window takes."""

    template: ClassVar[str] = "figures.html"
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class PlotFile:
    """A PNG file as bytes, taken into the page. alt: what it shows, in words."""

    template: ClassVar[str] = "plot_file.html"
    png: bytes
    alt: str

    @property
    def base64(self) -> str:
        return b64encode(self.png).decode()


@dataclass(frozen=True)
class Gallery:
    """Pictures in a grid, each with a caption. num_more: how many there are besides."""

    template: ClassVar[str] = "gallery.html"
    pictures: tuple[Shown, ...]
    num_more: int = 0
    size: Literal["small", "medium", "large"] = "small"


@dataclass(frozen=True)
class Row:
    """Pictures of one thing beside words about it. aside: one more picture among the words, with its caption."""

    title: str
    facts: tuple[str, ...]
    pictures: tuple[Shown, ...]
    num_more: int = 0
    aside: Shown | None = None
    emphasis: str = ""


@dataclass(frozen=True)
class Rows:
    """look: `pairs` for two pictures a row, so that several rows stand side by side where the window is wide; `strips`
    for about ten smaller pictures, on one line there; `groups` for fewer with longer captions; `reasons` for two larger
    ones beside several lines of words."""

    template: ClassVar[str] = "rows.html"
    rows: tuple[Row, ...]
    empty: str = "There is none."
    look: Literal["", "pairs", "strips", "groups", "reasons"] = ""


@dataclass(frozen=True)
class Folded:
    """Parts that are opened by a click; in print they are open. is_open: from the beginning."""

    template: ClassVar[str] = "folded.html"
    summary: str
    parts: tuple[Any, ...]
    is_open: bool = False


Part = Text | Lacking | Numbers | Steps | DataTable | Definitions | Figures | PlotFile | Gallery | Rows | Folded


def figures_in(parts: Sequence[Any]) -> list[Figure]:
    """All charts of some parts, also within folded ones, in the order of the page."""
    found: list[Figure] = []
    for part in parts:
        if isinstance(part, Figures):
            found.extend(part.figures)
        elif isinstance(part, Folded):
            found.extend(figures_in(part.parts))
    return found
