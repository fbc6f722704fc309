"""What the commands that predict show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shelfmark.core.terminal import console_settings, percent
from shelfmark.core.text_safety import printable

if TYPE_CHECKING:
    from shelfmark.pipelines.predict import Prediction

_MOST_SHOWN = 20


def predicted(result: Prediction) -> None:
    """The best class of the first photographs, with its number, name and probability."""
    rows = [row for row in range(len(result.table)) if row not in result.errors]
    table = Table(box=SIMPLE_HEAD)
    table.show_edge = False
    for heading in ("photograph", "product"):
        table.add_column(heading, overflow="fold")
    table.add_column("probability", justify="right", no_wrap=True)
    for row in rows[:_MOST_SHOWN]:
        label, score = int(result.classes[row, 0]), float(result.scores[row, 0])
        name = result.names.get(label)
        cells = (result.table.image_ids[row], f"{name} ({label})" if name else str(label), percent(score))
        table.add_row(*(Text(printable(cell, one_line=True)) for cell in cells))
    console = Console(**console_settings())
    console.print()
    console.print(table)
    if len(rows) > _MOST_SHOWN:
        # The file with names, where there is one.
        where = result.topk or result.submission
        console.print(f"and {len(rows) - _MOST_SHOWN:,} more, in {where}", soft_wrap=True, markup=False)
