"""A letter of a shape means the same in the whole package: the table is in docs/design.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
SOURCE = CHECKOUT / "lib" / "shelfmark"


def table() -> dict[str, set[str]]:
    """The words that a legend may name each letter with."""
    rows = re.findall(r"^\| (`\w`.*?) \| ([^|]+) \|", (CHECKOUT / "docs" / "design.md").read_text(), re.MULTILINE)
    return {letter: set(words.split(", ")) for names, words in rows for letter in re.findall(r"`(\w)`", names)}


def legends(source: str) -> Iterator[str]:
    """What stands behind `Legend:` in the docstrings of a file, up to the end of the sentence."""
    for node in ast.walk(ast.parse(source)) if "Legend: " in source else ():
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            _, found, text = (ast.get_docstring(node) or "").partition("Legend: ")
            if found:
                yield re.split(r"\.(?:\s|$)", text)[0]


def clashes(legend: str, letters: dict[str, set[str]]) -> Iterator[str]:
    """The entries of a legend that are not in the table."""
    for entry in re.split(r"[,;]\s", legend.replace("H x W", "H pixels, W")):
        name = re.match(r"((?!a)\w)\s(.+)", entry, re.DOTALL)
        if name and not letters.get(name[1], set()) & set(re.findall(r"\w+", name[2])):
            yield entry


def test_every_letter_of_a_legend_has_its_meaning_of_the_table():
    letters = table()
    found = {}
    for file in sorted(SOURCE.rglob("*.py")):
        entries = [entry for legend in legends(file.read_text()) for entry in clashes(legend, letters)]
        if entries:
            found[str(file.relative_to(SOURCE))] = entries
    assert found == {}


@pytest.mark.parametrize(
    ("legend", "entry"),
    [
        ("N batch, K proxies a class", ["K proxies a class"]),
        ("N images, H x W pixels of the map; J bins", ["J bins"]),
        ("Q queries, G gallery rows, a multiple of 8", []),
    ],
)
def test_a_letter_with_another_meaning_is_found(legend, entry):
    assert list(clashes(legend, table())) == entry
    assert list(legends(f'"""A file.\n\nLegend: {legend}. More, K of it.\n"""')) == [legend]
