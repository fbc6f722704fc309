from __future__ import annotations

import re
from pathlib import Path

from shelfmark.cli.screens import FILES

PAGE = Path(__file__).parents[2] / "log" / "README.md"


def named() -> set[str]:
    return {name.rstrip("/") for name in re.findall(r"`([^`]+)`", PAGE.read_text(encoding="utf-8"))}


def test_the_page_of_log_names_every_file_of_a_run(base_run: Path) -> None:
    there = {file.name for file in (base_run / "base").iterdir()}
    assert {"summary.json", "per_class.csv"} <= there
    assert there <= named()


def test_the_page_of_log_names_every_file_that_a_screen_lists() -> None:
    assert set(FILES) <= named()
