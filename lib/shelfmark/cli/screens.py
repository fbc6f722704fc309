"""What a command shows at its end: scores, and where its files are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from shelfmark.core import dist
from shelfmark.core.log import say

if TYPE_CHECKING:
    from shelfmark.pipelines.demo import Demo
    from shelfmark.pipelines.tau_norm import Recalibrated

SHOWN = (
    ("top1", "top-1"),
    ("top5", "top-5"),
    ("mean_class_accuracy", "mean class accuracy"),
    ("mean_class_error", "mean class error"),
    ("many", "many-shot"),
    ("medium", "medium-shot"),
    ("few", "few-shot"),
    ("recall@1", "Recall@1"),
    ("map", "mAP"),
)


def trained(folder: Path, summary: Mapping[str, Any]) -> None:
    """Scores of a run, and its files."""
    if dist.is_main():
        console = Console(highlight=False)
        console.print(_scores(f"scores of {folder.name}", {"val": summary}))
        console.print(_files([folder]))


def recalibrated(result: Recalibrated) -> None:
    """Before and after tau-norm, and the files."""
    console = Console(highlight=False)
    console.print(_scores("tau-norm, on val", _before_and_after(result)))
    console.print(_files([result.folder]))
    say(f"predict with it: python test.py --RESUME_MODEL {result.checkpoint}")


def demo(result: Demo) -> None:
    """Everything that the demo made."""
    console = Console(highlight=False)
    console.print()
    console.print(_scores("the shop", {"trained": result.trained} | _before_and_after(result.recalibrated)))
    console.print(_files([result.run, result.recalibrated.folder]))
    times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in result.seconds.items())
    console.print(f"{sum(result.seconds.values()):.0f} s in all: {times}", soft_wrap=True)


def dry_run_passed() -> None:
    """One line."""
    say("dry run passed: two batches of each phase went through; nothing was kept")


def _before_and_after(result: Recalibrated) -> dict[str, Mapping[str, Any]]:
    raise AssertionError


def _scores(title: str, columns: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("score")
    for name in columns:
        table.add_column(name, justify="right")
    for key, label in SHOWN:
        if any(key in scores for scores in columns.values()):
            table.add_row(label, *(_percent(scores, key) for scores in columns.values()))
    return table


def _percent(scores: Mapping[str, Any], key: str) -> str:
    if key not in scores:
        return ""
    value = scores[key]
    return "n/a" if value is None or value != value else f"{100 * value:.1f} %"


def _files(folders: list[Path]) -> Table:
    table = Table.grid(padding=(0, 2))
    for folder in folders:
        for file in sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name)):
            table.add_row(f"{file}{'/' if file.is_dir() else ''}")
    return table
