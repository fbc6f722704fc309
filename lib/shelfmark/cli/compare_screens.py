"""What `shelfmark compare` shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shelfmark.core.log import say
from shelfmark.core.terminal import console_settings
from shelfmark.core.text_safety import printable
from shelfmark.core.wording import counted

if TYPE_CHECKING:
    from shelfmark.pipelines.comparison import AgainstFirst, Comparison, NamedChange

_CLASSES = 5
"""Of each side; the page and the JSON have more."""


def compared(found: Comparison) -> None:
    """The scores first, then why they may differ, then what was required."""
    from shelfmark.reports.comparison_words import agreement_told, config_rows, fact_rows, score_rows

    console = Console(**console_settings())
    names = [run["name"] for run in found.runs]
    pictures = found.pictures or found.searched
    images = "" if pictures is None else f", on the same {counted(len(pictures), 'image')}"
    _print_title(console, f"Compared with {names[0]}{images}")
    _print_table(console, ["", *names], score_rows(found.scores), right=True)
    console.print("after each score: its difference from the first run, and the 95% interval of that", soft_wrap=True)
    for one in found.others:
        _print_title(console, f"{one.run} beside {names[0]}")
        if one.answers is not None:
            console.print(Text(printable(agreement_told(one.answers, names[0], one.run))), soft_wrap=True)
        _print_classes(console, one)
    _print_title(console, "Speed, memory and size")
    _print_table(console, ["", *names], fact_rows(found.runs), right=True)
    _print_title(console, "Options that differ")
    rows = config_rows(found.config)
    if rows:
        _print_table(console, ["", *names], rows)
    else:
        console.print("none")
    _print_judgements(console, found)
    if found.page is not None:
        say(f"the page: {found.page}")


def _print_classes(console: Console, one: AgainstFirst) -> None:
    for what, number, changes in (("better", one.num_better, one.better), ("worse", one.num_worse, one.worse)):
        if changes:
            shown = "; ".join(_change(change) for change in changes[:_CLASSES])
            more = f"; and {number - _CLASSES:,} more" if number > _CLASSES else ""
            console.print(Text(f"{counted(number, 'class')} {what}: {shown}{more}"), soft_wrap=True)


def _change(one: NamedChange) -> str:
    change = one.change
    name = printable(one.name, one_line=True)
    return f"{name} ({change.right_first} -> {change.right_second} of {change.num_images} right)"


def _print_judgements(console: Console, found: Comparison) -> None:
    if not found.judgements:
        return
    _print_title(console, "Requirements")
    for one in found.judgements:
        met = "met" if one.is_met else "NOT met"
        console.print(Text(printable(f"{met}: {one.requirement} ({one.run}): {one.told}")), soft_wrap=True)


def _print_title(console: Console, title: str) -> None:
    console.print()
    console.print(Text(printable(title), style="bold"), soft_wrap=True)


def _print_table(console: Console, headings: Sequence[str], rows: Sequence[Sequence[Any]], right: bool = False) -> None:
    table = Table(box=SIMPLE_HEAD)
    for place, heading in enumerate(headings):
        table.add_column(Text(printable(heading)), justify="right" if right and place else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    console.print(table)
