"""What a command shows at its end: scores, and where its files are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from shelfmark.core import dist
from shelfmark.core.log import say

if TYPE_CHECKING:
    from shelfmark.pipelines.demo import Demo
    from shelfmark.pipelines.tau_norm import Recalibrated

FILES = {
    "summary.json": "scores",
    "per_class.csv": "accuracy of each class",
    "curves.png": "loss, score and learning rate",
    "metrics.jsonl": "every logged step",
    "config.yaml": "the resolved config, to run again",
    "best_model": "checkpoint for test.py and tau_norm.py",
    "last": "checkpoint to resume",
    "tau_norm.csv": "scores of each tau",
    "tau_norm.png": "scores against tau",
    "submission.csv": "predicted classes of the test images",
}


def trained(folder: Path, summary: Mapping[str, Any]) -> None:
    """Scores of a run, and its files."""
    if dist.is_main():
        _show(f"Scores of {folder}", {"val": summary}, [folder])


def recalibrated(result: Recalibrated) -> None:
    """Before and after tau-norm, and the files."""
    _show("tau-norm, on val", _before_and_after(result), [result.folder])
    say(f"predict with it: python test.py --RESUME_MODEL {result.checkpoint}")


def demo(result: Demo) -> None:
    """Everything that the demo made."""
    columns = {"trained": result.trained, **_before_and_after(result.recalibrated)}
    del columns["unmodified"]
    console = Console(highlight=False, record=True)
    _show("The shop", columns, [result.run, result.recalibrated.folder], console)
    times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in result.seconds.items())
    console.print(f"\n{sum(result.seconds.values()):.0f} s in all: {times}", soft_wrap=True)
    console.save_svg(str(result.run / "demo.svg"), title="make demo")


def dry_run_passed() -> None:
    """One line."""
    say("dry run passed: two batches of each phase went through; nothing was kept")


def _show(
    title: str, columns: Mapping[str, Mapping[str, Any]], folders: Sequence[Path], console: Console | None = None
) -> None:
    from shelfmark.reports.tables import score_table

    console = console or Console(highlight=False)
    console.print()
    console.print(score_table(title, columns))
    console.print(_files(folders))


def _before_and_after(result: Recalibrated) -> dict[str, Mapping[str, Any]]:
    """cross-validated is the figure to trust: tau was not chosen on the images that it scores."""
    chosen = "unmodified is best" if result.tau is None else f"tau {result.tau:g}"
    return {
        "unmodified": result.summary["unmodified"],
        chosen: result.summary["recalibrated"],
        "cross-validated": result.summary["cross_validated"],
    }


def _files(folders: Sequence[Path]) -> Table:
    table = Table.grid(padding=(0, 3))
    for folder in folders:
        for name, meaning in FILES.items():
            file = folder / name
            if file.exists():
                table.add_row(f"{file}/" if file.is_dir() else str(file), meaning)
    return table
