"""Markdown of text that others wrote."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from shelfmark.core.text_safety import printable

_SIGNS = re.compile(r"([\\`*_{}\[\]<>#|!~&])")


def escaped(text: str) -> str:
    """Text that shows as it is: no mark-up, no HTML, no end of a table's cell, no line break."""
    return _SIGNS.sub(r"\\\1", printable(text, one_line=True))


def code(text: str) -> str:
    """Text as code within a line."""
    shown = printable(text, one_line=True).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    return f"{fence} {shown} {fence}" if "`" in shown else f"`{shown}`"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table; the cells are Markdown already. Columns behind the first stand to the right."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
