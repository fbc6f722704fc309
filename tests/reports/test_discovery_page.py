from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pictures import picture_in
from PIL import Image

from shelfmark.reports.discovery_page import (
    HtmlPage,
    Line,
    LineChart,
    Plot,
    Point,
    ScoresTable,
    Section,
    ShownPicture,
    ShownProduct,
    write_page,
)
from shelfmark.reports.html.parts import Number
from shelfmark.reports.thumbnails import Thumbnails

CHART = LineChart("Recall@1", (Line("test", (Point(0, 0.4, 0.35, 0.45), Point(1, 0.5, 0.44, 0.56))),))


class _Tags(HTMLParser):
    """The tags of a page, and whether each that is opened is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("RGB", (400, 100), "#ff0000").save(tmp_path / "wide.png")
    return tmp_path / "wide.png"


def _page(tmp_path: Path, *pictures: ShownPicture, title: str = "New 7", plots: tuple[Plot, ...] = ()) -> str:
    product = ShownProduct(
        title, ("4 images", "density 0.75"), pictures, 3, "like Soap", ShownPicture(None, "Soap"), "truth: 75% Tea"
    )
    page = HtmlPage(
        "Round 1",
        "about it",
        (Number("47.0%", "Recall@1", "44.0 - 50.0"),),
        (CHART,),
        (Section("Largest", "in order", (product,)), Section("Joined", "to known", (), "No cluster joined.")),
        (ScoresTable("Selected", "of what", ("", "images"), (("known", "3"),)),),
        plots,
        "the end",
    )
    write_page(page, tmp_path / "index.html")
    return (tmp_path / "index.html").read_text()


def test_the_page_holds_all_that_it_shows(tmp_path: Path, picture: Path) -> None:
    html = _page(
        tmp_path, ShownPicture(picture_in(picture), "wide.png"), plots=(Plot("Sizes", "of clusters", picture),)
    )
    tags = _Tags(html)
    assert not tags.open
    sources = [attributes["src"] or "" for tag, attributes in tags.found if "src" in attributes]
    assert [source[:16] for source in sources] == ["data:image/jpeg;", "data:image/png;b"]
    links = [attributes["href"] or "" for tag, attributes in tags.found if "href" in attributes]
    targets = {attributes.get("id") for tag, attributes in tags.found}
    assert links
    assert all(link[0] == "#" and link[1:] in targets for link in links)
    assert not re.search(r"https?:|@import|url\([^#]|<script", html)
    for text in (
        "47.0%",
        "44.0 - 50.0",
        "4 images",
        "density 0.75",
        "+3",
        "75% Tea",
        "No cluster joined.",
        "like Soap",
    ):
        assert text in html


def test_a_thumbnail_is_the_whole_picture_made_small(picture: Path) -> None:
    uri = Thumbnails(side_px=64).data_uri(picture_in(picture))
    assert uri is not None
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as image:
        assert (image.format, image.size) == ("JPEG", (64, 16))
        red, green, blue = image.convert("RGB").getpixel((30, 8))  # type: ignore[misc]
        assert red > 240
        assert max(green, blue) < 15


def test_a_small_picture_is_not_enlarged(tmp_path: Path) -> None:
    Image.new("L", (3, 2)).save(tmp_path / "small.png")
    uri = Thumbnails().data_uri(picture_in(tmp_path / "small.png"))
    assert uri is not None
    assert Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).size == (3, 2)


def test_a_picture_is_decoded_once(picture: Path) -> None:
    thumbnails = Thumbnails()
    uri = thumbnails.data_uri(picture_in(picture))
    picture.unlink()
    assert thumbnails.data_uri(picture_in(picture)) == uri


def test_a_picture_that_cannot_be_read_says_so_in_its_place(tmp_path: Path, picture: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    names = ("missing.jpg", "broken.jpg", "wide.png")
    html = _page(tmp_path, *(ShownPicture(picture_in(tmp_path / name), name) for name in names))
    assert html.count("cannot be read") == 2
    assert html.count("no picture") == 1
    assert html.count("data:image/jpeg") == 1


def test_names_cannot_break_the_page(tmp_path: Path, picture: Path) -> None:
    evil = '<script>alert("1")</script> & \udcff'
    html = _page(tmp_path, ShownPicture(picture_in(picture), evil), title=evil)
    assert "<script" not in html
    assert "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt; &amp; \\xff" in html
    assert not _Tags(html).open


def test_the_same_page_is_the_same_bytes(tmp_path: Path, picture: Path) -> None:
    assert _page(tmp_path, ShownPicture(picture_in(picture))) == _page(tmp_path, ShownPicture(picture_in(picture)))
