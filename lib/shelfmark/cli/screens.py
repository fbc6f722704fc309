"""What a command shows at its end: scores, and where its files are."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shelfmark.core import dist
from shelfmark.core.door import command_line
from shelfmark.core.log import say
from shelfmark.core.terminal import console_settings, percent
from shelfmark.core.wording import counted

if TYPE_CHECKING:
    from shelfmark.pipelines.calibrate import Calibration
    from shelfmark.pipelines.demo import Demo
    from shelfmark.pipelines.tau_norm import Recalibration
    from shelfmark.pipelines.weigh_experts import ExpertWeighing

# In summary.json, and on screen only where scores are all that was asked for.
DETAILS = re.compile(r"(precision|map)@\d|recall@1_(many|medium|few)|mrr|mean_class_recall")

_OF_METHODS = 72
"""Columns that the table of calibration methods takes with each interval on one line."""

FILES = {
    "report.html": "all of it as one page, to open in a browser",
    "summary.json": "scores",
    "per_class.csv": "accuracy of each class",
    "retrieval_per_class.csv": "Recall@1 of each class",
    "retrieval_groups.csv": "Recall@1 of each group of classes",
    "post_processing.csv": "Recall@1 and mAP after each step of post-processing",
    "curves.png": "loss, score and learning rate",
    "accuracy_by_frequency.png": "class accuracy against training images",
    "weight_norms.png": "lengths of the classifier's rows against training images",
    "reliability.png": "accuracy against confidence",
    "confused_pairs.png": "classes taken for others, with images",
    "confused_pairs.csv": "the same, as a table",
    "metrics.jsonl": "every logged step",
    "config.yaml": "the resolved config, to run again",
    "best_model": "the model: the checkpoint for all other commands",
    "last": "checkpoint to resume",
    "calibration.csv": "scores of each method",
    "tau_norm.csv": "scores of each tau",
    "tau_norm.png": "scores against tau",
    "submission.csv": "predicted classes, by number",
    "index": "an index to search in",
    "exported": "the model as a file that runs elsewhere, with its proof",
}


def trained(folder: Path, summary: Mapping[str, Any]) -> None:
    """Scores of a run, and its files."""
    if dist.is_main():
        _show(f"Scores of {folder}", {"val": summary}, [folder])


def evaluated(folder: Path, summary: Mapping[str, Any], legacy: str | None) -> None:
    """As `trained`, with the scores by older definitions beside ours where they were asked for."""
    prefix = f"{legacy}_"
    ours = {name: score for name, score in summary.items() if not name.startswith(prefix)}
    theirs = {name.removeprefix(prefix): score for name, score in summary.items() if name.startswith(prefix)}
    if dist.is_main():
        columns = {"val": ours, **({legacy: theirs} if legacy else {})}
        _show(f"Scores of {folder}", columns, [folder], with_details=True)


def post_processed(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """One row a step of post-processing: the scores after it, and its seconds."""
    from shelfmark.core.score_names import score_name
    from shelfmark.reports.tables import score_text

    if not dist.is_main():
        return
    table = Table(box=SIMPLE_HEAD)
    table.add_column("", overflow="fold")
    for name in ("recall@1", "map"):
        table.add_column(score_name(name), justify="right")
    table.add_column("seconds", justify="right")
    for number, row in enumerate(rows):
        scores = (score_text(name, row[name]) for name in ("recall@1", "map"))
        table.add_row(f"+ {row['step']}" if number else row["step"], *scores, f"{row['seconds']:.1f}")
    console = Console(**console_settings())
    console.print()
    _print_title(console, "Post-processing, step upon step")
    console.print(table)
    say(f"also written to {folder / 'post_processing.csv'}")


def recalibrated(result: Recalibration) -> None:
    """Before and after tau-norm, and the files."""
    _show("tau-norm, on val", _before_and_after(result), [result.folder])
    _say_next(result.checkpoint)


def calibrated(result: Calibration) -> None:
    """One row a method, with 95% intervals, and the files."""
    console = Console(**console_settings())
    console.print()
    _print_title(console, "Recalibrations, on val")
    console.print(_method_table(result, console.width))
    saved = result.saved if result.saved == result.chosen else f"{result.saved}, the best that a checkpoint can hold"
    for line in (
        "below each score: its 95% interval; below a method: what it learned",
        "each method is scored on val images that it was not fitted on",
        f"best, by mean class accuracy: {result.chosen}; saved: {saved}",
        *_temperature_lines(result),
        f"the choice itself, cross-validated: {_scores_line(result.cross_validated)}",
        "",
    ):
        console.print(line, soft_wrap=True)
    _print_files(console, [result.folder])
    _say_next(result.checkpoint)


def _temperature_lines(result: Calibration) -> list[str]:
    """What the temperature on top of the saved method does, if it has one."""
    found = [row["learned"].get("temperature_on_top") for row in result.methods if row["method"] == result.saved]
    if not found or found[0] is None:
        return []
    return [f"T: the ECE with a temperature of {found[0]:.3g} on top, which the saved checkpoint has; cross-validated"]


def weighed(result: ExpertWeighing) -> None:
    """One row an expert, and how well the two views agree."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("", overflow="fold")
    table.add_column("weight", justify="right")
    for number, weight in enumerate(result.weights, start=1):
        table.add_row(f"expert_{number}", percent(weight))
    console = Console(**console_settings())
    console.print()
    _print_title(console, "Weights of the experts")
    console.print(table)
    console.print(
        f"agreement of two views: {percent(result.stability)}, with equal weights {percent(result.equal_stability)}",
        soft_wrap=True,
    )
    _print_files(console, [result.folder])
    _say_next(result.checkpoint)


def _say_next(checkpoint: Path) -> None:
    say(f"predict with it: {command_line('test', '--RESUME_MODEL', checkpoint, '--images', 'DIR')}")


def near(path: str) -> str:
    """The path from the working folder on, where it lies below it."""
    here = os.path.join(os.getcwd(), "")
    return path.removeprefix(here)


def demo(result: Demo) -> None:
    """Everything that the demo made."""
    recalibrated = result.recalibrated
    [after] = [row for row in recalibrated.methods if row["method"] == recalibrated.saved]
    # The choice of a method is scored on images that it was not chosen on.
    columns = {
        "trained": result.trained,
        recalibrated.saved: _without_intervals(after),
        "cross-validated": _without_intervals(recalibrated.cross_validated),
    }
    console = Console(**{**console_settings(), **_of_picture()}, record=True)
    _show("The shop", columns, [result.run, result.recalibrated.folder], console)
    times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in result.seconds.items())
    console.print(f"\n{sum(result.seconds.values()):.0f} s in all: {times}\n", soft_wrap=True)
    _show_counter(result, console)
    photo = shlex.quote(near(str(result.predicted.table.path(0))))
    checkpoint, best = recalibrated.checkpoint, result.run / "best_model"
    for line in (
        "what next:",
        "  shelfmark train --images DIR     # your own photographs, a folder for each class",
        f"  shelfmark test --RESUME_MODEL {checkpoint} --images DIR --topk 5",
        f"  shelfmark recognise --RESUME_MODEL {checkpoint} --index {result.index} {photo}",
        f"  shelfmark clean --RESUME_MODEL {best}     # training images whose labels are doubtful",
        f"  shelfmark serve {_served(result)}     # over HTTP, with a page to try it on",
    ):
        console.print(line, soft_wrap=True)
    console.save_svg(str(result.run / "demo.svg"), title="make demo")


def _show_counter(result: Demo, console: Console) -> None:
    """What a shop needs at its counter: when to answer, and the file that answers."""
    if result.promise is not None:
        content, bound = result.promise.content, result.promise.content["bound"]
        console.print(
            f"With a confidence of {content['confidence']:.0%} at most {content['max_wrong']:.0%} of the answers are"
            f" wrong; {percent(bound['coverage'])} of the pictures get one, the others are unknown.",
            soft_wrap=True,
        )
    if result.exported is not None and result.exported.folder is not None:
        same = percent(result.exported.parity["measured"]["top1_agreement"])
        pictures = counted(result.exported.parity["pictures"], "picture")
        console.print(
            f"The ONNX file gives the same answer on {same} of {pictures}: {result.exported.folder}", soft_wrap=True
        )
    console.print("")


def _served(result: Demo) -> str:
    if result.exported is not None and result.exported.folder is not None:
        return f"--model {result.exported.folder} --index {result.index}"
    return f"--RESUME_MODEL {result.recalibrated.checkpoint} --index {result.index}"


def dry_run_passed() -> None:
    """One line."""
    say("dry run passed: two batches of each phase went through; nothing was kept")


def _show(
    title: str,
    columns: Mapping[str, Mapping[str, Any]],
    folders: Sequence[Path],
    console: Console | None = None,
    with_details: bool = False,
) -> None:
    from shelfmark.reports.tables import score_table

    console = console or Console(**console_settings())
    if not with_details:
        columns = {
            heading: {name: score for name, score in scores.items() if not DETAILS.match(name)}
            for heading, scores in columns.items()
        }
    console.print()
    _print_title(console, title)
    console.print(score_table("", columns))
    _print_files(console, folders)


def _method_table(result: Calibration, width: int) -> Table:
    from shelfmark.reports.tables import score_text
    from shelfmark.runtime.calibration_methods import learned_text

    names = {
        "top1": "top-1",
        "mean_class_accuracy": "mean class",
        "many": "many",
        "medium": "medium",
        "few": "few",
        "ece": "ECE",
    }
    table = Table(box=SIMPLE_HEAD)
    table.show_edge, table.padding = False, (0, 0)
    table.add_column("", no_wrap=True, overflow="fold")
    for heading in names.values():
        table.add_column(heading, justify="right", overflow="fold")
    for row in result.methods:
        cells = [_with_interval(row, name, score_text(name, row[name]), width) for name in names]
        told = learned_text(row["learned"])
        if row.get("ece_with_temperature") is not None:
            cells[-1] += f"\nT: {score_text('ece', row['ece_with_temperature'])}"
        name = f"{row['method']}\n  {told}" if told else row["method"]
        table.add_row(name, *cells, style="bold" if row["method"] == result.chosen else "")
    return table


def _with_interval(row: Mapping[str, Any], name: str, score: str, width: int) -> str:
    """The interval below its score; its upper limit below the lower one on a narrow screen."""
    low, high = (row.get(f"{name}_{limit}") for limit in ("low", "high"))
    if low is None or high is None:
        return score
    between = "-" if width >= _OF_METHODS else "-\n"
    return f"{score}\n{100 * low:.1f}{between}{100 * high:.1f}"


def _scores_line(scores: Mapping[str, Any]) -> str:
    from shelfmark.core.score_names import score_name
    from shelfmark.reports.tables import score_text

    return ", ".join(f"{score_name(name)} {score_text(name, score)}" for name, score in scores.items())


def _before_and_after(result: Recalibration) -> dict[str, Mapping[str, Any]]:
    """cross-validated is the figure to trust: tau was not chosen on the images that it scores."""
    from shelfmark.runtime.calibration_methods import tau_text

    without_bias = result.summary["bias"] == "zero"
    chosen = "unmodified is best" if result.tau is None else tau_text(result.tau, without_bias)
    headings = {"unmodified": "unmodified", "recalibrated": chosen, "cross_validated": "cross-validated"}
    return {heading: _without_intervals(result.summary[name]) for name, heading in headings.items()}


def _without_intervals(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Three columns with intervals are wider than a screen: those stand in summary.json."""
    return {
        what: score
        for what, score in scores.items()
        if what not in ("method", "learned") and not what.endswith(("_low", "_high"))
    }


def _of_picture() -> dict[str, int]:
    """The picture of the demo's screen is as wide as a terminal, also where there is none."""
    return {} if sys.stdout.isatty() else {"width": 100}


def _print_title(console: Console, title: str) -> None:
    """A table's own title would be broken where the table ends, and with it a path."""
    console.print(Text(title, style="bold"), soft_wrap=True)
    console.print()


def _print_files(console: Console, folders: Sequence[Path]) -> None:
    """Each file and its meaning, side by side where all have room, else below each other: a path is never broken."""
    files = [(folder / name, meaning) for folder in folders for name, meaning in FILES.items()]
    rows = [(f"{file}/" if file.is_dir() else str(file), meaning) for file, meaning in files if file.exists()]
    column = max((cell_len(file) for file, _ in rows), default=0) + 3
    is_wide = all(column + cell_len(meaning) <= console.width for _, meaning in rows)
    for file, meaning in rows:
        between = " " * (column - cell_len(file)) if is_wide else "\n    "
        console.print(f"{file}{between}{meaning}", soft_wrap=True, markup=False)
