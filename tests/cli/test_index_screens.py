"""What a search shows of names that would command the terminal."""

from __future__ import annotations

import pytest

from shelfmark.calibration.promise.promise import Promise
from shelfmark.calibration.promise.rules import Decision
from shelfmark.cli import index_screens
from shelfmark.pipelines.recognise import Product, Recognition
from shelfmark.pipelines.search import Answer, Candidate, GalleryImage

EVIL = "a\x1b]0;owned\x07\x9b2J\nb.jpg"


PROMISE = Promise.of({"format": 1, "rules": [], "max_wrong": 0.01, "confidence": 0.95, "max_false_accept": None})


@pytest.mark.parametrize(
    ("decision", "lines"),
    [
        (Decision("product", 1, None, "product: margin >= 0.2", (1,)), ["product: Tea (1)", "by margin >= 0.2; "]),
        (Decision("shortlist", rule="shortlist of 2: joined >= 0.9", members=(1, 7)), ["shortlist: Tea (1), 7"]),
        (Decision("family", None, "Drinks", "family: joined >= 0.9", (7, 1)), ["family Drinks: 7, Tea (1)"]),
        (Decision("unknown", reason="product: margin is low"), ["unknown (product: margin is low)"]),
    ],
)
def test_what_the_rules_decided_stands_above_the_candidates(
    decision: Decision, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    products = (Product(1, "Tea", 0.5, 0.4, 0.1, "tea.jpg"),)
    index_screens.recognised([Recognition("a.jpg", None, products, decision, {1: "Tea", 7: ""}, PROMISE)])
    shown = capsys.readouterr().out
    for line in lines:
        assert line in shown
    assert ("at most 1% of the answers are wrong, at 95% confidence" in shown) == (decision.kind != "unknown")


def test_screens_write_escapes_out(capsys: pytest.CaptureFixture[str]) -> None:
    near = GalleryImage(0.5, EVIL, None, "", EVIL)
    index_screens.searched(
        [
            Answer(EVIL, candidates=(Candidate(1, EVIL, 0.5, 2, EVIL),)),
            Answer(EVIL, neighbours=(near,)),
            Answer(EVIL, error="missing"),
        ]
    )
    index_screens.recognised([Recognition(EVIL, products=(Product(1, EVIL, 0.5, 0.4, 0.1, EVIL),))])
    decided = Decision("product", 1, None, "product: margin >= 0.2", (1,))
    index_screens.recognised([Recognition(EVIL, None, (), decided, {1: EVIL}, PROMISE)])
    index_screens.described({"checkpoint": EVIL, "images": 7})
    shown = capsys.readouterr().out
    assert not set(shown) & {"\x1b", "\x07", "\x9b"}
    assert "".join(shown.split()).count(r"a\x1b]0;owned\x07\x9b2J\nb.jpg") >= 5
