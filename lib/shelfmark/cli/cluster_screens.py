"""What the commands of a clusterer show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from shelfmark.core.log import say
from shelfmark.core.terminal import console_settings, percent

_COLUMNS = {
    "images": "images",
    "clusters": "clusters",
    "pairwise_f": "pairwise F",
    "bcubed_f": "BCubed F",
    "nmi": "NMI",
}


def clustered(scores: Mapping[str, Mapping[str, float | int | None]], folder: Path) -> None:
    """One row for all images and one for the dense ones, with as many columns as there are scores."""
    names = [name for name in _COLUMNS if any(name in row for row in scores.values())]
    table = Table(title="Clusters\n", title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.add_column("", overflow="fold")
    for name in names:
        table.add_column(_COLUMNS[name], justify="right", overflow="fold")
    for row, values in scores.items():
        table.add_row(row, *(_shown(values.get(name)) for name in names))
    console = Console(**console_settings())
    console.print()
    console.print(table)
    say(f"clusters and all scores are in {folder}")


def _shown(value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else percent(value)
