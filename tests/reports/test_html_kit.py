from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shelfmark.reports.html.charts.axis import Axis
from shelfmark.reports.html.charts.chart import Chart
from shelfmark.reports.html.charts.layers import Line
from shelfmark.reports.html.page import Page, Section, page_html, write_page
from shelfmark.reports.html.parts import DataTable, Figure, Figures, Folded, Gallery, Row, Rows, Text
from shelfmark.reports.html.pictures import Shown

LONG = "x" * 300
HOSTILE = ("<script>alert(1)</script>", "\"quotes\" 'and' & more", "\u202eturned", LONG)


def _noise(number: int) -> tuple[Shown, ...]:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (number, 64, 64, 3), dtype=np.uint8)
    return tuple(Shown(one, "noise") for one in pixels)


def _page(*parts: object, heading: str = "One") -> Page:
    return Page("A run", "about it", (Section(heading, parts),))  # type: ignore[arg-type]


def test_a_page_stays_below_its_limit_and_says_how_many_pictures_it_left_out() -> None:
    whole, none = page_html(_page(Gallery(_noise(60))))
    assert none == 0
    assert "left out" not in whole
    limit = len(whole) * 2 // 3
    html, num_left_out = page_html(_page(Gallery(_noise(60))), limit_bytes=limit)
    assert 0 < num_left_out < 40
    assert len(html.encode()) <= limit
    assert f"{num_left_out} pictures left out" in html
    assert f"{60 - num_left_out} are here" in html
    assert html.count("data:image/jpeg") == 60 - num_left_out
    # The first pictures are the ones that stay.
    assert html.index("left out</span>") > html.rindex("data:image/jpeg")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_text_wherever_it_stands(name: str) -> None:
    chart = Chart(name, name, Axis(name), Axis(name), (Line(name, np.arange(2.0), np.arange(2.0)),))
    parts = (
        Text(name),
        DataTable(name, (name, name), ((name, name),)),
        Figures((Figure("figure", chart, name),)),
        Rows((Row(name, (name,), (Shown(None, name, name),), aside=Shown(None, name, name), emphasis=name),)),
        Folded(name, (Text(name),)),
    )
    html, _ = page_html(_page(*parts, heading=name))
    assert "<script" not in html
    assert "\u202e" not in html
    assert html.count('"quotes"') == 0
    if name == LONG:
        assert html.count(LONG) > 10


def test_every_figure_is_also_a_file_with_its_numbers_and_the_page_links_to_both(tmp_path: Path) -> None:
    chart = Chart(
        "Loss", "falls", Axis("epoch"), Axis("loss"), (Line("run", np.array([1.0, 2]), np.array([0.5, 0.25])),)
    )
    folded = Folded("more", (Figures((Figure("second", chart),)),))
    write_page(_page(Figures((Figure("first", chart),)), folded), tmp_path / "index.html", "figures")
    html = (tmp_path / "index.html").read_text()
    for name in ("first", "second"):
        assert (
            tmp_path / "figures" / f"{name}.csv"
        ).read_text() == "series,epoch,loss,low,high\nrun,1,0.5,,\nrun,2,0.25,,\n"
        assert (tmp_path / "figures" / f"{name}.svg").read_text().startswith("<svg")
        assert f'href="figures/{name}.svg"' in html
        assert f'href="figures/{name}.csv"' in html


def test_pixels_keep_the_size_that_they_ask_for() -> None:
    pixels = np.zeros((300, 600, 3), np.uint8)
    html, _ = page_html(_page(Gallery((Shown(pixels, "small"), Shown(pixels, "large", side_px=400)))), side_px=100)
    sizes = [
        Image.open(io.BytesIO(base64.b64decode(part.split('"')[0]))).size
        for part in html.split("data:image/jpeg;base64,")[1:]
    ]
    assert sizes == [(100, 50), (400, 200)]


def test_a_verdict_is_told_by_a_sign_besides_its_colour() -> None:
    html, _ = page_html(_page(Gallery((Shown(None, "a", "tea", "right"), Shown(None, "b", "soap", "wrong")))))
    assert "\u2713 tea" in html
    assert "\u2717 soap" in html
