"""What `shelfmark recognise` prints of shelf photographs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
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

_MOST_TABLES = 5
"""Photographs with a table of their own."""
_OTHERS = {
    "shortlist": "one of several",
    "family": "one of a family",
    "unknown": "unknown",
    "outside": "outside of the photograph",
}


def counts(found: Shelves) -> None:
    """How many boxes each product has, for each of a few photographs or in all; where the files are; what to do with
    unknown boxes."""
    console = Console(**console_settings())
    read = [shelf for shelf in found.shelves if shelf.error is None]
    for shelf in found.shelves:
        photo = printable(shelf.photo, one_line=True)
        if shelf.error is not None:
            console.print(Text(f"\n{photo}: could not be read: {shelf.error}"), soft_wrap=True)
        elif len(read) <= _MOST_TABLES:
            console.print(Text(f"\n{photo}: {counted(len(shelf.boxes), 'box')}", style="bold"), soft_wrap=True)
            console.print(_table([shelf]))
    if len(read) > _MOST_TABLES:
        boxes = counted(sum(len(shelf.boxes) for shelf in read), "box")
        console.print(Text(f"\n{counted(len(read), 'photograph')}: {boxes}", style="bold"), soft_wrap=True)
        console.print(_table(read))
    console.print(Text(f"\npictures, tables and counts of each photograph: {found.folder}"), soft_wrap=True)
    if found.unknown is not None:
        unknown = counted(sum(shelf.num_of("unknown") for shelf in read), "unknown box")
        told = (
            f"{unknown} in {counted(found.num_groups, 'group')}: look at {found.folder}/unknown_1.jpg and on, name the"
            f" new products in {found.unknown} (class_names), and add them to the index:\n  {found.adds}"
        )
        console.print(Text(printable(told)), soft_wrap=True)


def _table(shelves: Sequence[Shelf]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.show_edge = False
    table.add_column("product", overflow="fold")
    table.add_column("boxes", justify="right", no_wrap=True)
    for name, number in _totals(shelves):
        table.add_row(Text(printable(name, one_line=True)), f"{number:,}")
    for kind, told in _OTHERS.items():
        if number := sum(shelf.num_of(kind) for shelf in shelves):
            table.add_row(Text(told, style="italic"), f"{number:,}")
    return table


def _totals(shelves: Sequence[Shelf]) -> list[tuple[str, int]]:
    """Each product and its boxes in all photographs, most first."""
    names: dict[int, str] = {}
    numbers: Counter[int] = Counter()
    for one in (one for shelf in shelves for one in shelf.counts):
        names[one["class"]] = one["name"] or f"class {one['class']}"
        numbers[one["class"]] += one["boxes"]
    return [(names[label], numbers[label]) for label in sorted(numbers, key=lambda label: (-numbers[label], label))]
