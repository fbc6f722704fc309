"""docs/serving.md against the limits and the tests that it names."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from shelfmark.serving.limits import Limits


@pytest.fixture(scope="module")
def rows(checkout: Path) -> list[list[str]]:
    page = (checkout / "docs" / "serving.md").read_text(encoding="utf-8")
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]


def test_every_limit_stands_there_with_its_number_and_a_test(rows):
    told = {row[0].strip("`"): float(row[1]) for row in rows if len(row) == 4 and row[3].startswith("`test_")}
    assert told == {name: float(value) for name, value in asdict(Limits()).items()}


def test_every_test_that_it_names_is_there(rows, checkout):
    named = {cell.strip("`") for row in rows for cell in row[-1:] if cell.startswith("`test_")}
    source = "".join(file.read_text(encoding="utf-8") for file in (checkout / "tests" / "serving").glob("test_*.py"))
    assert len(named) > 20
    assert named <= set(re.findall(r"^def (test_\w+)", source, flags=re.MULTILINE))
