"""A page as one HTML file: numbers, charts, rows of small pictures, tables and plots.

The file includes its pictures, so it can be sent to people who know the products.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from shelfmark.core.files import write_text
from shelfmark.data.sources import Picture
from shelfmark.reports.line_charts import LineChart, line_chart
from shelfmark.reports.thumbnails import Thumbnails

_STYLE = """
:root { color-scheme: light; --ink: #1f2430; --muted: #667085; --line: #e4e7ec; --soft: #f6f7f9; --blue: #2b6cb0; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, "Noto Sans", sans-serif; -webkit-text-size-adjust: 100%; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 20px; line-height: 1.3; margin: 48px 0 4px; }
p { margin: 0; max-width: 46em; }
.muted { color: var(--muted); }
nav { margin: 16px 0 0; display: flex; flex-wrap: wrap; gap: 4px 20px; font-size: 15px; }
a { color: var(--blue); text-decoration: none; }
a:hover { text-decoration: underline; }
.numbers { display: flex; flex-wrap: wrap; gap: 1px; margin: 28px 0 0;
  background: var(--line); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
.number { flex: 1 1 140px; background: #fff; padding: 14px 16px; }
.number b { display: block; font-size: 26px; line-height: 1.2; font-weight: 600; font-variant-numeric: tabular-nums; }
.number span { display: block; font-size: 14px; }
.number small { display: block; font-size: 13px; color: var(--muted); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(290px, 1fr)); gap: 20px; margin: 28px 0 0; }
.charts figure { margin: 0; }
.charts figcaption { font-size: 15px; font-weight: 600; margin: 0 0 4px; }
.charts svg { width: 100%; height: auto; display: block; }
.plot { display: block; width: 100%; max-width: 760px; height: auto; margin: 12px 0 0; }
.scroll { overflow-x: auto; margin: 12px 0 0; }
table { border-collapse: collapse; font-size: 15px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 14px 6px 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-right: 24px; }
th { font-weight: 600; font-size: 13px; color: var(--muted); }
.product { display: grid; grid-template-columns: 250px 1fr; gap: 4px 24px; padding: 16px 0;
  border-top: 1px solid var(--line); }
.products { margin: 14px 0 0; border-bottom: 1px solid var(--line); }
.product h3 { font-size: 16px; line-height: 1.35; margin: 0 0 2px; overflow-wrap: anywhere; }
.product ul { list-style: none; margin: 0; padding: 0; font-size: 14px; line-height: 1.45; overflow-wrap: anywhere; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(92px, 1fr)); gap: 6px;
  align-content: start; }
.pictures img, .pictures .none, .like img, .like .none { width: 100%; aspect-ratio: 1; border-radius: 6px;
  display: block; object-fit: contain; background: var(--soft); }
.none { display: grid !important; place-items: center; text-align: center; font-size: 11px; line-height: 1.2;
  color: var(--muted); padding: 4px; overflow: hidden; }
.like { display: flex; gap: 8px; align-items: center; margin: 8px 0 0; font-size: 14px; line-height: 1.35; }
.like > :first-child { flex: 0 0 44px; width: 44px; font-size: 9px; }
.truth { font-style: italic; }
.more { display: grid; place-items: center; aspect-ratio: 1; font-size: 14px; color: var(--muted); }
footer { margin: 48px 0 0; font-size: 14px; color: var(--muted); }
@media (max-width: 700px) {
  main { padding: 20px 16px 48px; }
  h1 { font-size: 24px; }
  .number { flex-basis: 40%; }
  .product { grid-template-columns: 1fr; gap: 10px; }
  .pictures { grid-template-columns: repeat(auto-fill, minmax(68px, 1fr)); }
}
@media print { .product { break-inside: avoid; } nav { display: none; } }
"""


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
class Number:
    value: str
    name: str
    note: str = ""


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
    write_text(path, "\n".join(_document(page)) + "\n")


def _document(page: HtmlPage) -> Iterator[str]:
    thumbnails = Thumbnails()
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{_text(page.title)}</title><style>{_STYLE}</style></head><body><main>"
    yield f'<h1>{_text(page.title)}</h1><p class="muted">{_text(page.subtitle)}</p>'
    parts: list[Section | ScoresTable | Plot] = [*page.sections, *page.tables, *page.plots]
    headings = [part.heading for part in parts]
    links = (f'<a href="#{_anchor(heading)}">{_text(heading)}</a>' for heading in headings)
    yield f"<nav>{''.join(links)}</nav>"
    yield from _numbers(page.numbers)
    yield from _charts(page.charts)
    for section in page.sections:
        yield from _section(section, thumbnails)
    for table in page.tables:
        yield from _table(table)
    for plot in page.plots:
        yield from _plot(plot)
    if page.footer:
        yield f"<footer>{_text(page.footer)}</footer>"
    yield "</main></body></html>"


def _numbers(numbers: Sequence[Number]) -> Iterator[str]:
    if numbers:
        cells = (
            f'<div class="number"><b>{_text(one.value)}</b><span>{_text(one.name)}</span>'
            f"<small>{_text(one.note)}</small></div>"
            for one in numbers
        )
        yield f'<div class="numbers">{"".join(cells)}</div>'


def _charts(charts: Sequence[LineChart]) -> Iterator[str]:
    if charts:
        figures = (f"<figure><figcaption>{_text(one.title)}</figcaption>{line_chart(one)}</figure>" for one in charts)
        yield f'<div class="charts">{"".join(figures)}</div>'


def _table(table: ScoresTable) -> Iterator[str]:
    yield from _heading(table.heading, table.explanation)
    head = "".join(f"<th>{_text(name)}</th>" for name in table.columns)
    yield f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>'
    for row in table.rows:
        yield f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>"
    yield "</tbody></table></div>"


def _plot(plot: Plot) -> Iterator[str]:
    yield from _heading(plot.heading, plot.explanation)
    source = base64.b64encode(plot.path.read_bytes()).decode()
    yield f'<img class="plot" src="data:image/png;base64,{source}" alt="{_text(plot.heading)}">'


def _section(section: Section, thumbnails: Thumbnails) -> Iterator[str]:
    yield from _heading(section.heading, section.explanation)
    yield '<div class="products">'
    for product in section.products:
        yield from _product(product, thumbnails)
    if not section.products:
        yield f'<div class="product"><p class="muted">{_text(section.empty)}</p></div>'
    yield "</div>"


def _product(product: ShownProduct, thumbnails: Thumbnails) -> Iterator[str]:
    yield f'<article class="product"><div><h3>{_text(product.title)}</h3><ul class="muted">'
    yield from (f"<li>{_text(fact)}</li>" for fact in product.facts)
    if product.truth:
        yield f'<li class="truth">{_text(product.truth)}</li>'
    yield "</ul>"
    if product.like:
        picture = _picture(product.like_picture, thumbnails) if product.like_picture else ""
        yield f'<div class="like">{picture}<span class="muted">{_text(product.like)}</span></div>'
    yield '</div><div class="pictures">'
    yield from (_picture(picture, thumbnails) for picture in product.pictures)
    if product.num_more:
        yield f'<div class="more">+{product.num_more:,}</div>'
    yield "</div></article>"


def _picture(picture: ShownPicture, thumbnails: Thumbnails) -> str:
    note = _text(picture.note)
    source = None if picture.picture is None else thumbnails.data_uri(picture.picture)
    if source is None:
        said = "cannot be read" if picture.picture is not None else "no picture"
        return f'<div class="none" title="{note}">{said}</div>'
    return f'<img src="{source}" alt="{note}" title="{note}" loading="lazy">'


def _heading(heading: str, explanation: str) -> Iterator[str]:
    yield f'<h2 id="{_anchor(heading)}">{_text(heading)}</h2><p class="muted">{_text(explanation)}</p>'


def _anchor(heading: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in heading.lower())


def _text(text: str) -> str:
    # A file name that is no UTF-8 holds lone surrogates, which no browser can show.
    return escape(text.encode("utf-8", "replace").decode(), quote=True)
