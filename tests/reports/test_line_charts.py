from __future__ import annotations

from xml.etree import ElementTree

import pytest

from shelfmark.reports.line_charts import Line, LineChart, Point, line_chart


def _points(chart: LineChart) -> list[tuple[float, float]]:
    tree = ElementTree.fromstring(line_chart(chart))
    return [
        (float(one.attrib["cx"]), float(one.attrib["cy"]))
        for one in tree.iter("circle")
        if one.find("title") is not None
    ]


def _ticks(chart: LineChart) -> list[str]:
    return [one.text or "" for one in ElementTree.fromstring(line_chart(chart)).iter("text") if "%" in (one.text or "")]


def _line(*values: float) -> Line:
    return Line("val", tuple(Point(place, value) for place, value in enumerate(values)))


def test_higher_values_stand_higher_and_later_rounds_further_right() -> None:
    (x0, y0), (x1, y1), (x2, y2) = _points(LineChart("score", (_line(0.2, 0.4, 0.3),)))
    assert x0 < x1 < x2
    assert x2 - x1 == pytest.approx(x1 - x0, abs=0.2)
    # Places grow downwards, and half of the way is half of the value.
    assert y1 < y2 < y0
    assert y2 - y1 == pytest.approx(y0 - y2, abs=0.2)


def test_the_scale_holds_every_value_and_interval_and_stays_within_0_and_100() -> None:
    chart = LineChart("score", (Line("test", (Point(0, 0.99, 0.9, 1.0), Point(1, 1.0, 0.97, 1.0))),))
    ticks = [float(tick.rstrip("%")) for tick in _ticks(chart)]
    assert ticks[0] <= 90
    assert ticks[-1] == 100
    assert _ticks(LineChart("score", (_line(0.0),)))[0] == "0%"


def test_a_value_can_be_read_with_its_interval() -> None:
    svg = line_chart(LineChart("score", (Line("test", (Point(3, 0.5, 0.44, 0.56),)),)))
    assert "test, 3: 50.0% (44.0 - 56.0)" in svg
    assert "round 3" in svg


@pytest.mark.parametrize("lines", [(), (Line("val", ()),)])
def test_a_chart_of_nothing_is_an_empty_frame(lines: tuple[Line, ...]) -> None:
    assert _points(LineChart("score", lines)) == []
    assert _ticks(LineChart("score", lines)) == ["0%", "50%", "100%"]


def test_names_are_escaped() -> None:
    tree = ElementTree.fromstring(line_chart(LineChart('<&">', (Line("<b>", (Point(0, 0.5),)),))))
    assert tree.attrib["aria-label"] == '<&">'
