"""Scores as people read them: tables for a terminal, CSV files for a spreadsheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from shelfmark.core.csv_lines import line_feed_writer
from shelfmark.core.files import atomic_path
from shelfmark.core.score_names import score_name
from shelfmark.core.terminal import percent
from shelfmark.core.text_safety import spreadsheet_cell

NOT_AVAILABLE = "n/a"
_LIMITS = ("_low", "_high")


def score_table(title: str, columns: Mapping[str, Mapping[str, Any]]) -> Table:
    """A table with one row a score and one column for each of `columns`: a heading and its scores.

    Fractions are shown in percent, counts (`num_...`) as they are, None as n/a; a score that one column does
    not have at all is left empty there. A score's `_low` and `_high` stand behind it: 46.4% (42.8 - 50.1).
    """
    table = Table(title=title or None, title_justify="left", title_style="bold")
    table.add_column("", overflow="fold")
    for heading in columns:
        table.add_column(heading, justify="right", overflow="fold")
    names = dict.fromkeys(name for scores in columns.values() for name in scores)
    for name in names:
        if name.endswith(_LIMITS) and name.removesuffix("_low").removesuffix("_high") in names:
            continue
        cells = (_with_interval(name, scores) if name in scores else "" for scores in columns.values())
        table.add_row(score_name(name), *cells)
    return table


def score_text(name: str, value: float | None) -> str:
    """Percent with one decimal, a count with its thousands apart, or n/a."""
    if value is None or value != value:
        return NOT_AVAILABLE
    return f"{value:,.0f}" if name.startswith("num_") else percent(value)


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Writes rows as CSV; None becomes n/a, numbers keep six digits. columns: by default those of the first row."""
    with (
        atomic_path(path) as beside,
        open(beside, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        writer = line_feed_writer(stream)
        names = list(columns or (rows[0] if rows else ()))
        writer.writerow(names)
        writer.writerows([_cell(row.get(name)) for name in names] for row in rows)


def _with_interval(name: str, scores: Mapping[str, Any]) -> str:
    text = score_text(name, scores[name])
    low, high = (scores.get(f"{name}{limit}") for limit in _LIMITS)
    return text if low is None or high is None else f"{text} ({100 * low:.1f} - {100 * high:.1f})"


def _cell(value: Any) -> Any:
    if value is None or value != value:
        return NOT_AVAILABLE
    return f"{value:.6g}" if isinstance(value, float) else spreadsheet_cell(value)
