"""Plots of a run and of a tau sweep, as PNG files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.score_names import score_name
from shelfmark.reports.figures import BLUE, FAINT, GREEN, INK, ORANGE, PURPLE, RED, legend, new_figure, save, style

Record = Mapping[str, Any]

# Lines are told apart without their colours too: in print, and by eyes that see few.
_TAU_LINES: dict[str, dict[str, Any]] = {
    "many": {"color": GREEN, "linewidth": 1.2, "linestyle": (0, (1, 1.2)), "marker": "^"},
    "medium": {"color": PURPLE, "linewidth": 1.2, "linestyle": (0, (6, 2, 1, 2)), "marker": "s"},
    "few": {"color": ORANGE, "linewidth": 1.2, "linestyle": (0, (3, 1.5)), "marker": "v"},
    "top1": {"color": FAINT, "linewidth": 1.6, "linestyle": "-", "marker": "x"},
    "mean_class_accuracy": {"color": BLUE, "linewidth": 2.6, "linestyle": "-", "marker": "o"},
}
_MARKS_A_LINE = 8


def curves(records: Sequence[Record], path: Path, metric: str = "mean_class_accuracy", ties: str = "first") -> None:
    """Training loss, the chosen metric on val and the learning rate, against epochs.

    records: lines of metrics.jsonl, with kind train, epoch or val, step and epoch (from 0). ties: the one of equal
    scores that is marked as the best, as eval.ties.
    """
    epochs = epochs_of(records)
    figure = new_figure(height_in=8.4)
    loss, score, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 2))
    _draw(loss, records, "train", "loss", epochs, color=FAINT, linewidth=1, label="at a step")
    _draw(loss, records, "epoch", "loss", epochs, color=BLUE, linewidth=2, marker="o", label="mean of the epoch")
    loss.set_ylabel("training loss")
    legend(loss)
    _draw_score(score, records, metric, epochs, ties)
    _draw(rate, records, "train", "lr", epochs, color=PURPLE, linewidth=2) or _draw(
        rate, records, "epoch", "lr", epochs, color=PURPLE, linewidth=2, marker="o"
    )
    rate.set_ylabel("learning rate")
    rate.set_ylim(bottom=0)
    rate.set_xlabel("epochs done" if _num_epochs(records) else "optimizer steps")
    for axes in (loss, score, rate):
        style(axes)
    rate.set_xlim(left=0)
    rate.xaxis.get_major_locator().set_params(integer=True)
    figure.align_ylabels()
    save(figure, path)


def tau_curve(table: Sequence[Record], path: Path, chosen: float | None) -> None:
    """Accuracies against tau. The unmodified classifier is a horizontal line, the chosen tau a marked point.

    table: rows with tau (None for the unmodified classifier), top1, mean_class_accuracy, many, medium, few.
    chosen: the chosen tau, None for the unmodified classifier.
    """
    sweep = [row for row in table if row["tau"] is not None]
    unmodified = next((row for row in table if row["tau"] is None), None)
    taus = [row["tau"] for row in sweep]
    every = max(1, len(taus) // _MARKS_A_LINE)
    figure = new_figure(height_in=5.2)
    axes = figure.subplots()
    for name, look in _TAU_LINES.items():
        if any(row.get(name) is not None for row in sweep):
            levels = [_percent(row.get(name)) for row in sweep]
            axes.plot(taus, levels, **look, markersize=5, markevery=every, label=score_name(name))
    if unmodified is not None:
        level = _percent(unmodified["mean_class_accuracy"])
        label = f"unmodified: mean class accuracy {level:.1f}%"
        axes.axhline(level, color=INK, linewidth=1.2, linestyle=(0, (10, 4)), label=label)
    _mark_chosen(axes, sweep, unmodified, chosen)
    axes.set_xlabel(r"$\tau$   (each class row divided by its length to the power $\tau$)")
    axes.set_ylabel("accuracy on val (%)")
    if len(taus) > 1:
        axes.set_xlim(min(taus), max(taus))
    style(axes)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=10, handlelength=3.4)
    save(figure, path)


def _mark_chosen(axes: Any, sweep: Sequence[Record], unmodified: Record | None, chosen: float | None) -> None:
    row = unmodified if chosen is None else next((row for row in sweep if row["tau"] == chosen), None)
    if row is None:
        return
    level = _percent(row["mean_class_accuracy"])
    if chosen is None:
        axes.plot([], [], " ", label="chosen: the unmodified classifier")
        return
    axes.axvline(chosen, color=RED, linewidth=1, alpha=0.5)
    # With its bias it would be the unmodified classifier, which is taken before its equals.
    without = ", no bias" if chosen == 0 else ""
    label = rf"chosen: $\tau$ = {chosen:g}{without}, {level:.1f}%"
    axes.plot([chosen], [level], "D", color=RED, markersize=9, zorder=5, clip_on=False, label=label)


def _draw_score(axes: Any, records: Sequence[Record], metric: str, epochs: Callable[[float], float], ties: str) -> None:
    points = _points(records, "val", metric, epochs)
    axes.set_ylabel(f"val {score_name(metric)} (%)")
    if not points:
        axes.text(0.5, 0.5, "no evaluation yet", transform=axes.transAxes, ha="center", va="center", color=FAINT)
        return
    x, y = zip(*((at, 100 * value) for at, value in points))
    axes.plot(x, y, color=GREEN, linewidth=2, marker="o", markersize=4)
    is_best = np.flatnonzero(np.equal(y, min(y) if metric.endswith("error") else max(y)))
    best = int(is_best[-1 if ties == "last" else 0])
    axes.plot(
        x[best], y[best], "D", color=RED, markersize=9, zorder=5, label=f"best: {y[best]:.1f}%, epoch {x[best]:g}"
    )
    legend(axes)


def _draw(
    axes: Any, records: Sequence[Record], kind: str, name: str, epochs: Callable[[float], float], **style: Any
) -> bool:
    points = _points(records, kind, name, epochs)
    if points:
        axes.plot(*zip(*points), markersize=4, **style)
    return bool(points)


def _points(
    records: Sequence[Record], kind: str, name: str, epochs: Callable[[float], float]
) -> list[tuple[float, float]]:
    return [(epochs(row["step"]), row[name]) for row in records if row["kind"] == kind and row.get(name) is not None]


def _num_epochs(records: Sequence[Record]) -> int:
    return sum(row["kind"] == "epoch" for row in records)


def epochs_of(records: Sequence[Record]) -> Callable[[float], float]:
    """Steps -> finished epochs, by the steps at which epochs ended. Before the first end the unit stays steps."""
    ends = [(row["step"], row["epoch"] + 1) for row in records if row["kind"] == "epoch"]
    if not ends:
        return float
    steps, done = (np.array([0, *column], dtype=float) for column in zip(*ends))
    # The epoch in progress counts as long as the last whole epoch.
    last = steps[-1] - steps[-2]
    steps, done = np.append(steps, steps[-1] + last), np.append(done, done[-1] + done[-1] - done[-2])
    return lambda step: float(np.interp(step, steps, done))


def _percent(value: float | None) -> float:
    return float("nan") if value is None else 100 * value
