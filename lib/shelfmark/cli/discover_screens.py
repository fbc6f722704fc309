"""What the commands of discovery show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shelfmark.core.files import read_json
from shelfmark.core.terminal import console_settings
from shelfmark.core.text_safety import printable

if TYPE_CHECKING:
    from shelfmark.pipelines.discover.assign import Assignment
    from shelfmark.pipelines.discover.files import RunFiles


def discovered(run: RunFiles) -> None:
    """A row for each round that has a report, and where to look further."""
    from shelfmark.pipelines.discover.report import round_rows, stage_seconds

    rounds = run.finished_rounds
    reports = [read_json(run.report(number)) for number in rounds]
    _show(run.folder.name, *round_rows(reports, [stage_seconds(run, number) for number in rounds]))
    Console(**console_settings()).print(f"look at {run.report(rounds[-1]).parent / 'index.html'}", soft_wrap=True)


def assigned(answers: Sequence[Assignment]) -> None:
    """A row for each photograph that could be read."""
    from shelfmark.pipelines.discover.assign import assigned_rows

    _show("", *assigned_rows(answers))


def _show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    console = Console(**console_settings())
    if title:
        console.print(Text(printable(title, one_line=True), style="bold"), soft_wrap=True)
    table = Table(box=SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # Names are the user's, and no markup.
        table.add_row(*(Text(printable(cell, one_line=True)) for cell in row))
    console.print(table)
