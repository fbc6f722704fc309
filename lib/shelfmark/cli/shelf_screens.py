"""What `shelfmark recognise` prints of shelf photographs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shelfmark.core.terminal import console_settings
from shelfmark.core.text_safety import printable
from shelfmark.core.wording import counted

if TYPE_CHECKING:
    from shelfmark.pipelines.shelf_answers import Shelf
    from shelfmark.pipelines.shelves import Shelves

_OTHERS = {
    "shortlist": "one of several",
    "family": "one of a family",
    "unknown": "unknown",
    "outside": "outside of the photograph",
}


def counts(found: Shelves) -> None:
    """For each photograph how many boxes each product has, and where the files are."""
    console = Console(**console_settings())
    for shelf in found.shelves:
        console.print()
        photo = printable(shelf.photo, one_line=True)
        if shelf.error is not None:
            console.print(Text(f"{photo}: could not be read: {shelf.error}"), soft_wrap=True)
            continue
        console.print(Text(f"{photo}: {counted(len(shelf.boxes), 'box')}", style="bold"), soft_wrap=True)
        console.print(_table(shelf))
    console.print(Text(f"\npictures and tables: {found.folder}"), soft_wrap=True)


def _table(shelf: Shelf) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.show_edge = False
    table.add_column("product", overflow="fold")
    table.add_column("boxes", justify="right", no_wrap=True)
    for one in shelf.counts:
        table.add_row(Text(printable(one["name"] or f"class {one['class']}", one_line=True)), str(one["boxes"]))
    for kind, told in _OTHERS.items():
        if shelf.num_of(kind):
            table.add_row(Text(told, style="italic"), str(shelf.num_of(kind)))
    return table
