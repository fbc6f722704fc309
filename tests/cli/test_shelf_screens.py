"""What is shown of shelf photographs and of what thresholds promise about their boxes, and what their picture says."""

from __future__ import annotations

from pathlib import Path

import pytest

from shelfmark.calibration.promise.rules import Decision
from shelfmark.cli import promise_screens, shelf_screens
from shelfmark.pipelines.recognise import Product, Recognition
from shelfmark.pipelines.shelf_answers import Shelf, ShelfBox
from shelfmark.pipelines.shelves import Shelves

PLACE = (0.0, 0.0, 5.0, 5.0)


def product(label: int, name: str) -> ShelfBox:
    return ShelfBox(PLACE, None, Recognition("a", products=(Product(label, name, 0.5, 0.4, 0.1, ""),)))


def unknown(group: int | None) -> ShelfBox:
    return ShelfBox(PLACE, None, Recognition("a", None, (), Decision("unknown")), group)


def shown(shelves: list[Shelf], capsys: pytest.CaptureFixture[str]) -> list[str]:
    shelf_screens.counts(Shelves(tuple(shelves), Path("out"), None, 0))
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_a_few_photographs_have_a_table_each_and_many_have_one_of_totals(capsys: pytest.CaptureFixture[str]) -> None:
    boxes = (product(0, "Tea"), product(7, "Soap"), product(7, "Soap"), unknown(1))
    few = shown([Shelf(f"{row}.jpg", None, boxes) for row in range(5)], capsys)
    assert few.count("Soap 2") == few.count("Tea 1") == 5
    photos = [Shelf(f"{row}.jpg", None, boxes) for row in range(5)]
    many = shown([*photos, Shelf("b.jpg", "missing"), Shelf("c.jpg", None, (product(0, "Tea"),) * 9)], capsys)
    assert "6 photographs: 29 boxes" in many
    assert [line for line in many if line.startswith(("Soap", "Tea", "unknown"))] == ["Tea 14", "Soap 10", "unknown 5"]
    assert "b.jpg: could not be read: missing" in many
    assert not any(line.startswith("0.jpg") for line in many)


def test_unknown_boxes_have_the_number_of_their_group_in_the_picture() -> None:
    shelf = Shelf("a.jpg", None, (product(3, "Tea"), *map(unknown, (7, 2, None, 7, 4))))
    boxes, lines = shelf.signed()
    assert [one.sign for one in boxes] == ["1", "?7", "?2", "?", "?7", "?4"]
    assert lines == [
        "1: Tea, 1 box",
        "?7: unknown, like those in unknown_7.jpg, 2 boxes",
        "?2, ?4: unknown, 1 box each, like those in the unknown_N.jpg of the number",
        "?: unknown, 1 box",
    ]


def test_boxes_that_may_be_one_of_several_products_have_a_sign_for_each_set_of_them() -> None:
    def one_of(*labels: int) -> ShelfBox:
        decision = Decision("shortlist", rule="rule", members=labels)
        return ShelfBox(PLACE, None, Recognition("a", None, (), decision, {1: "Tea", 2: "Soap"}))

    boxes, lines = Shelf("a.jpg", None, (one_of(1, 2), one_of(9, 1), one_of(2, 1), product(0, "Jam"))).signed()
    assert [one.sign for one in boxes] == ["a", "b", "a", "1"]
    assert lines == ["1: Jam, 1 box", "a: one of Tea, Soap, 2 boxes", "b: one of Tea, class 9, 1 box"]


@pytest.mark.parametrize(
    ("more", "unit"), [({}, "pictures"), ({"num_photographs": 20, "wrong_by_photograph": 0.0}, "boxes")]
)
def test_a_promise_about_boxes_counts_boxes(
    more: dict[str, float], unit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bound = {"num_wrong": 0, "num_answers": 545, "num_pictures": 545, "coverage": 1.0, "by_kind": {}}
    bound |= {"false_accept": 0.1, "num_products_never_seen": 3, **more}
    promise_screens.promised(
        {"rules": [], "confidence": 0.95, "max_wrong": 0.05, "max_false_accept": 0.3, "bound": bound}
    )
    told = capsys.readouterr().out
    assert f"of 545 {unit} are answered" in told
    assert f"at most 30% of the {unit} are answered" in told
