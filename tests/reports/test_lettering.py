"""Which fonts a name is drawn with. The oracle is the character map of the font files themselves."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import font_manager
from pictures import picture_in
from PIL import Image

from shelfmark.ops.confusions import ConfusedPair
from shelfmark.reports import figures
from shelfmark.reports.confused_pairs import ShownPair, confused_pairs_sheet
from shelfmark.reports.lettering import after_mark, lettering

WATER = "\u519c\u592b\u5c71\u6cc9 550ml"
DEJAVU = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


@cache
def in_dejavu() -> set[str]:
    """The letters of the font that comes with matplotlib."""
    with TTFont(DEJAVU, lazy=True) as font:
        return {chr(code) for code in font.getBestCmap()}


@pytest.fixture
def without_system_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a server: only what matplotlib brings."""
    own = [font for font in font_manager.fontManager.ttflist if font.fname.startswith(matplotlib.get_data_path())]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    monkeypatch.setattr(font_manager, "findSystemFonts", list)


def make_font(file: Path, family: str, letters: str) -> None:
    """A font with a square for each of the letters."""
    pen = TTGlyphPen(None)
    for number, corner in enumerate(((0, 0), (0, 700), (700, 700), (700, 0))):
        (pen.lineTo if number else pen.moveTo)(corner)
    pen.closePath()
    names = {ord(letter): f"letter{number}" for number, letter in enumerate(letters)}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap(names)
    builder.setupGlyf(dict.fromkeys([".notdef", *names.values()], pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys([".notdef", *names.values()], (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2(usWeightClass=400)
    builder.setupPost()
    builder.save(file)


@pytest.mark.usefixtures("without_system_fonts")
def test_a_font_that_was_installed_since_matplotlib_first_ran_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_font(tmp_path / "han.ttf", "Some Han", "\u519c\u592b\u5c71\u6cc9")
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    monkeypatch.setattr(
        font_manager, "findSystemFonts", lambda: [str(tmp_path / name) for name in ("broken.ttf", "han.ttf")]
    )
    found = lettering([WATER, "Oat milk"])
    assert found.families == ("DejaVu Sans", "Some Han")
    assert not found.lacking
    assert found.name(WATER, 17) == WATER


@pytest.mark.usefixtures("without_system_fonts")
@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Молоко 3,2%", "Молоко 3,2%"),
        ("\u062d\u0644\u064a\u0628", "\u062d\u0644\u064a\u0628"),
        ("cafe\u0301", "caf\u00e9"),
        (WATER, "#17 ? 550ml"),
        ("\u519c\u592b \u5c71\u6cc9", "#17"),
        ("\uae40\uce58 \ub77c\uba74", "#17 gimci ramyeon"),
        ("\u30ab\u30c3\u30d7\u30cc\u30fc\u30c9\u30eb", "#17 katupunudoru"),
        ("\uff21\uff43\uff4d\uff45", "#17 Acme"),
        ("two\nlines \x1b[1m", "two\\nlines \\x1b[1m"),
        ("to the \u202eleft", "to the left"),
        ("", ""),
    ],
)
def test_a_name_that_no_font_can_write_is_a_number_and_what_ascii_says(name: str, written: str) -> None:
    assert lettering([name]).name(name, 17) == written


@pytest.mark.usefixtures("without_system_fonts")
@given(st.lists(st.text(), max_size=3))
def test_every_letter_that_is_drawn_is_in_a_font(names: list[str]) -> None:
    found = lettering(names)
    for name in names:
        assert set(after_mark("\N{RIGHTWARDS ARROW}", found.name(name, 3))) <= in_dejavu()


def test_the_fonts_of_formulas_are_none_for_names() -> None:
    # Their tables have Greek letters and arrows in the places of others.
    assert not figures.system_fonts() & {
        "cmmi10",
        "cmsy10",
        "STIXGeneral",
        "STIXNonUnicode",
        "Last Resort High-Efficiency",
    }


@pytest.mark.usefixtures("without_system_fonts")
@pytest.mark.filterwarnings("error")
def test_the_sheet_is_drawn_without_boxes_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    drawn = []
    monkeypatch.setattr(
        "shelfmark.reports.confused_pairs.save",
        lambda figure, path: (
            drawn.extend(text.get_text() for axes in figure.axes for text in axes.texts),
            figures.save(figure, path),
        ),
    )
    Image.new("RGB", (30, 20), "#ff0000").save(tmp_path / "red.png")
    picture = picture_in(tmp_path / "red.png")
    shown = [ShownPair(ConfusedPair(7, 3, 2, 8), WATER, "Oat milk", picture, picture, True)] * 2
    confused_pairs_sheet(
        [*shown, ShownPair(ConfusedPair(3, 7, 1, 8), "Oat milk", WATER, picture, None)], tmp_path / "s.png"
    )
    assert "#7 ? 550ml" in drawn
    assert after_mark("\N{RIGHTWARDS ARROW}", "#7 ? 550ml") in drawn
    assert (drawn.count("training"), drawn.count("no picture")) == (2, 1)
    assert "one of the training is shown" in drawn[1]
    assert caplog.text.count("no installed font has all letters of 1 class name,") == 1
