from __future__ import annotations

import pytest

from shelfmark.core.wording import are, counted


@pytest.mark.parametrize(
    ("number", "what", "said"),
    [
        (1, "class", "1 class"),
        (0, "class", "0 classes"),
        (1200, "training image", "1,200 training images"),
        (2, "query", "2 queries"),
        (2, "day", "2 days"),
        (3, "box", "3 boxes"),
        (2, "batch", "2 batches"),
        (2, "epoch", "2 epochs"),
    ],
)
def test_a_number_and_its_noun_agree(number: int, what: str, said: str) -> None:
    assert counted(number, what) == said


def test_so_does_the_verb() -> None:
    assert [are(number) for number in (0, 1, 2)] == ["are", "is", "are"]
