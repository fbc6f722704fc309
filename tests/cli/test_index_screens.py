"""What a search shows of names that would command the terminal."""

from __future__ import annotations

import pytest

from shelfmark.cli import index_screens
from shelfmark.pipelines.recognise import Product, Recognition
from shelfmark.pipelines.search import Answer, Candidate, GalleryImage

EVIL = "a\x1b]0;owned\x07\x9b2J\nb.jpg"


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
    index_screens.described({"checkpoint": EVIL, "images": 7})
    shown = capsys.readouterr().out
    assert not set(shown) & {"\x1b", "\x07", "\x9b"}
    assert "".join(shown.split()).count(r"a\x1b]0;owned\x07\x9b2J\nb.jpg") >= 5
