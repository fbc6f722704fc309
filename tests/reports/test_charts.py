from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from shelfmark.reports.discovery_page import Line as RoundLine
from shelfmark.reports.discovery_page import LineChart, Point, chart
from shelfmark.reports.html.charts.axis import Axis, round_numbers, short
from shelfmark.reports.html.charts.chart import Chart
from shelfmark.reports.html.charts.layers import Bars, Dots, Line, Reference
from shelfmark.reports.html.charts.svg_file import svg_file

NAN = float("nan")


def _tree(drawn: Chart) -> ElementTree.Element:
    return ElementTree.fromstring(drawn.svg("c"))


def _line(x: list[float], y: list[float], low: list[float] | None = None, high: list[float] | None = None) -> Line:
    ends = (None if one is None else np.array(one) for one in (low, high))
    return Line("val", np.array(x), np.array(y), *ends)


def _points(drawn: Chart) -> list[tuple[float, float]]:
    [line] = _tree(drawn).iter("polyline")
    return [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]  # type: ignore[misc]


def _texts(drawn: Chart) -> list[str]:
    return [one.text or "" for one in _tree(drawn).iter("text")]


def test_a_point_stands_where_its_values_are_between_the_ticks() -> None:
    drawn = Chart("t", "d", Axis("x", low=0, high=30), Axis("y", low=0, high=4), (_line([0, 15, 30], [0, 1, 4]),))
    (x0, y0), (x1, y1), (x2, y2) = _points(drawn)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    # A quarter of the way up; places grow downwards.
    assert (y0 - y1) / (y0 - y2) == pytest.approx(0.25, abs=0.001)
    ticks = {one.text: float(one.attrib["y"]) - 4 for one in _tree(drawn).iter("text")}
    assert ticks["4"] == pytest.approx(y2, abs=0.1)


def test_a_decade_is_as_long_as_another_on_an_axis_of_counts_and_zero_has_a_place() -> None:
    scale = Axis("images", "counts").scale(np.array([0.0, 1000.0]))
    zero, one, ten, hundred, thousand = scale.share(np.array([0, 1, 10, 100, 1000]))
    assert zero < one
    assert hundred - ten == pytest.approx(ten - one) == pytest.approx(thousand - hundred)
    assert 0 <= zero < thousand <= 1
    assert [text for _, text in scale.ticks][:2] == ["0", "1"]


def test_an_axis_of_counts_begins_with_the_decade_of_its_least_value_and_has_one_at_least() -> None:
    scale = Axis("images", "counts").scale(np.array([13.0, 60.0]))
    assert [text for _, text in scale.ticks] == ["10", "30", "100"]
    ten, least, most = scale.share(np.array([10, 13, 60]))
    assert 0 < ten < least < most < 1
    assert least < 0.25


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0.31, 0.34, [0.31, 0.32, 0.33, 0.34]), (3, 47, [0, 10, 20, 30, 40, 50])],
)
def test_ticks_are_round_numbers_around_the_values(low: float, high: float, wanted: list[float]) -> None:
    assert round_numbers(low, high) == pytest.approx(wanted)


def test_numbers_beside_an_axis_are_short() -> None:
    assert [short(one) for one in (0.001, 2.5, 1500, 20_000, 3_000_000)] == ["0.001", "2.5", "1,500", "20k", "3M"]


def test_the_csv_of_a_chart_has_every_value_and_the_names_of_the_axes() -> None:
    layers = (_line([1, 2], [0.5, NAN], [0.4, NAN], [0.6, NAN]), Dots("a class", np.array([3.0]), np.array([0.25])))
    drawn = Chart(
        "t", "d", Axis("epoch"), Axis("score", "percent"), (*layers, Reference("goal", (None, 0.9), (2, 0.9)))
    )
    assert drawn.columns() == ("series", "epoch", "score", "low", "high")
    rows = [tuple(row.values()) for row in drawn.rows()]
    assert rows[0] == ("val", 1, 0.5, 0.4, 0.6)
    assert rows[2] == ("a class", 3, 0.25, "", "")
    assert rows[3:] == [("goal", "", 0.9, "", ""), ("goal", 2, 0.9, "", "")]


def test_a_bar_is_as_high_as_its_value_and_its_interval_stands_on_it() -> None:
    bars = Bars("b", np.array([0.0, 1.0]), np.array([0.25, 0.5]), 0.6, np.array([0.2, NAN]), np.array([0.3, NAN]))
    tree = _tree(Chart("t", "d", Axis("", labels=("few", "many")), Axis("", "percent", 0, 1), (bars,)))
    low, high = (
        one for one in tree.iter("rect") if one.attrib["class"] == "bar s0" and float(one.attrib["height"]) != 10
    )
    assert float(high.attrib["height"]) == pytest.approx(2 * float(low.attrib["height"]), abs=0.2)
    [interval] = [one for one in tree.iter("path") if one.attrib["class"] == "interval"]
    bottom, top = map(float, re.findall(r"M[\d.]+ ([\d.]+)V([\d.]+)", interval.attrib["d"])[0])
    assert top < float(low.attrib["y"]) < bottom


def test_values_that_are_not_there_leave_a_gap_and_no_nan() -> None:
    drawn = Chart("t", "d", Axis("x"), Axis("y"), (_line([0, 1, 2], [1, NAN, 3], [NAN] * 3, [NAN] * 3),))
    assert len(_points(drawn)) == 2
    assert "nan" not in drawn.svg("c")


@pytest.mark.parametrize("layers", [(), (_line([], []),), (_line([2], [0.5]),)])
def test_a_chart_of_nothing_or_of_one_point_is_drawn(layers: tuple[Line, ...]) -> None:
    for kind in ("number", "percent", "counts", "log"):
        svg = Chart("t", "d", Axis("x", kind), Axis("y", kind), layers).svg("c")  # type: ignore[arg-type]
        assert "nan" not in svg
        assert "inf" not in svg


def test_a_chart_names_itself_to_who_cannot_see_it_and_names_are_text() -> None:
    drawn = Chart('<&">', "rises \u202e", Axis("<b>"), Axis("y"), (Line("<i>", np.arange(2.0), np.arange(2.0)),))
    tree = _tree(drawn)
    title, told = tree.find("title"), tree.find("desc")
    assert title is not None
    assert told is not None
    assert (title.text, told.text) == ('<&">', "rises \\u202e")
    assert tree.attrib["aria-labelledby"] == f"{title.attrib['id']} {told.attrib['id']}"
    assert {"<i>", "<b>"} <= set(_texts(drawn))


def test_the_file_of_a_chart_is_whole_by_itself() -> None:
    tree = ElementTree.fromstring(svg_file(Chart("t", "d", Axis("x"), Axis("y"), (_line([0, 1], [0, 1]),))))
    assert tree.tag == "{http://www.w3.org/2000/svg}svg"
    style = tree.find("{http://www.w3.org/2000/svg}style")
    assert style is not None
    assert ".line" in (style.text or "")


def test_rounds_of_a_discovery_stand_side_by_side_with_their_intervals() -> None:
    rounds = LineChart("Recall@1", (RoundLine("test", (Point(0, 0.4, 0.35, 0.45), Point(2, 0.5, 0.44, 0.56))),))
    drawn = chart(rounds)
    assert "round 2: 50.0% (44.0 - 56.0)" in drawn.description
    assert "<title>test, 2: 50.0% (44.0 - 56.0)</title>" in drawn.svg("c")
    assert [tuple(row.values()) for row in drawn.rows()] == [
        ("test", "0", 0.4, 0.35, 0.45),
        ("test", "2", 0.5, 0.44, 0.56),
    ]
    assert {"0", "2", "40%"} <= set(_texts(drawn))


def test_an_axis_of_shares_that_reaches_all_of_them_ends_at_100_percent() -> None:
    whole = Axis("images", "percent", 0).scale(np.array([0.0, 0.2, 1.0]))
    assert (whole.high, whole.ticks[-1][1]) == (1.0, "100%")
    assert Axis("change", "percent", 0).scale(np.array([1.3])).high > 1.3
