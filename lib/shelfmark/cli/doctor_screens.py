"""What `shelfmark doctor` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shelfmark.core.log import say
from shelfmark.core.terminal import console_settings
from shelfmark.core.text_safety import in_line, printable
from shelfmark.core.wording import counted

if TYPE_CHECKING:
    from shelfmark.pipelines.doctor.diagnosis import Diagnosis, Finding, Fixed

_EMPTIED = 5


def diagnosed(found: Diagnosis) -> None:
    """A row for each kind, then where the lists are, and what to do."""
    console = Console(**console_settings())
    table = Table(box=SIMPLE_HEAD)
    table.add_column("", overflow="fold")
    for heading in ("found", "images"):
        table.add_column(heading, justify="right")
    table.add_column("list", overflow="fold")
    for one in found.findings:
        file = found.files.get(one.name)
        table.add_row(one.title, _number(one), _images(one), "" if file is None else file.name)
    splits = ", ".join(f"{name} {len(split):,}" for name, split in found.listings.tables.items())
    console.print()
    title = f"{counted(len(found.listings.paths), 'image')} ({splits})"
    console.print(Text(printable(title), style="bold"), soft_wrap=True)
    console.print(table)
    sizes = found.class_sizes()
    console.print(
        f"different training images of a class: {sizes['fewest']:,} to {sizes['most']:,}, median {sizes['median']:g}",
        soft_wrap=True,
    )
    for why_not in dict.fromkeys(one.why_not for one in found.findings if one.why_not):
        console.print(Text(printable(f"not looked for: {why_not}")), soft_wrap=True)
    say(f"the lists: {found.folder}")
    say(f"the page, with images of each kind: {found.page}")
    if found.fixed is not None:
        _tell_fixed(found.fixed)


def _number(one: Finding) -> str:
    if one.why_not:
        return "-"
    return f"{len(one.culprits):,}" if one.unit == "image" else counted(len(one.culprits), one.unit)


def _images(one: Finding) -> str:
    return "" if one.why_not or one.unit in ("image", "class") else f"{one.num_images:,}"


def _tell_fixed(fixed: Fixed) -> None:
    if not fixed.annotations:
        say("--fix: nothing is surely wrong, so the annotations stay as they are")
        return
    for option, file in fixed.annotations.items():
        say(f"{option}: {counted(fixed.num_dropped[option], 'record')} left out: {file}")
    say(f"the images that training loses, as a list: {fixed.drop_list}")
    if fixed.emptied:
        named = in_line(fixed.emptied, _EMPTIED)
        say(f"no training image is left of {counted(len(fixed.emptied), 'class')}: {named}")
    say(f"train on them: {fixed.command}")
