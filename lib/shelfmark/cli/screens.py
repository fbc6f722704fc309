"""What a command shows at its end: scores, and where its files are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from shelfmark.core import dist
from shelfmark.core.log import say

if TYPE_CHECKING:
    from shelfmark.pipelines.calibrate import Calibration
    from shelfmark.pipelines.demo import Demo
    from shelfmark.pipelines.tau_norm import Recalibrated

FILES = {
    "summary.json": "scores",
    "per_class.csv": "accuracy of each class",
    "curves.png": "loss, score and learning rate",
    "accuracy_by_frequency.png": "class accuracy against training images",
    "weight_norms.png": "lengths of the classifier's rows against training images",
    "reliability.png": "accuracy against confidence",
    "confused_pairs.png": "classes taken for others, with pictures",
    "metrics.jsonl": "every logged step",
    "config.yaml": "the resolved config, to run again",
    "best_model": "checkpoint for test.py and tau_norm.py",
    "last": "checkpoint to resume",
    "calibration.csv": "scores of each method",
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


def calibrated(result: Calibration) -> None:
    """One row a method, with 95% intervals, and the files."""
    console = Console(highlight=False)
    console.print()
    console.print(_method_table(result))
    saved = result.saved if result.saved == result.chosen else f"{result.saved}, the best that a checkpoint can hold"
    for line in (
        "below each score: its 95% interval; the best has the greatest mean class accuracy",
        f"best: {result.chosen}; saved: {saved}",
        f"the choice itself, cross-validated: {_scores_line(result.cross_validated)}",
        "",
    ):
        console.print(line, soft_wrap=True)
    console.print(_files([result.folder]))
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


def _method_table(result: Calibration) -> Table:
    from shelfmark.reports.tables import score_text

    names = {
        "top1": "top-1",
        "mean_class_accuracy": "mean class",
        "many": "many",
        "medium": "medium",
        "few": "few",
        "ece": "ECE",
    }
    table = Table(title="Recalibrations, on val\n", title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.show_edge, table.padding = False, (0, 0)
    table.add_column("", no_wrap=True)
    for heading in names.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for row in result.methods:
        cells = (_two_lines(row, name, score_text(name, row[name])) for name in names)
        table.add_row(row["method"], *cells, style="bold" if row["method"] == result.chosen else "")
    return table


def _two_lines(row: Mapping[str, Any], name: str, score: str) -> str:
    low, high = (row.get(f"{name}_{limit}") for limit in ("low", "high"))
    return score if low is None or high is None else f"{score}\n{100 * low:.1f}-{100 * high:.1f}"


def _scores_line(scores: Mapping[str, Any]) -> str:
    from shelfmark.reports.tables import score_name, score_text

    return ", ".join(f"{score_name(name)} {score_text(name, score)}" for name, score in scores.items())


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
