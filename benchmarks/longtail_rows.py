"""The long-tail table: from hits on val images to rows, a verdict on each, and what is claimed of them.

Legend: S training runs (seeds), N val images, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from table_runner import Claim, gain_text, percent, signed
from table_runner import table_text as text_of_table
from torch import Tensor

from shelfmark.calibration import paired_gains, paired_intervals
from shelfmark.ops.bootstrap import Interval
from shelfmark.ops.class_metrics import Scores

MEAN_CLASS = "mean_class_accuracy"
COLUMNS = {MEAN_CLASS: "mean class", "many": "many", "medium": "medium", "few": "few"}
PLAIN = "plain"
LEAST_FEW_SHOT_GAIN = 0.1
LEAST_POST_HOC = 2


@dataclass(frozen=True, eq=False)
class Images:
    """labels: (N,) int64. counts: (C,) training images a class. many, few: of the groups."""

    labels: Tensor
    counts: Tensor
    many: int
    few: int


@dataclass(frozen=True, eq=False)
class Method:
    """hits: (S, N) bool, in the order of the seeds. ece: of each seed.

    is_post_hoc: made from the plain checkpoint, and not a training of its own.
    """

    name: str
    hits: Tensor
    ece: Sequence[float]
    is_post_hoc: bool = False


@dataclass(frozen=True, eq=False)
class Row:
    """Scores: means over the seeds. gain: over plain, its interval and the mean class accuracy's gain of each seed."""

    method: Method
    scores: Scores
    intervals: dict[str, Interval]
    gain: Scores
    gain_interval: Interval
    seed_gains: list[float]

    @property
    def verdict(self) -> str:
        low, high = self.gain_interval or (0.0, 0.0)
        return "better" if low > 0 else "worse" if high < 0 else "no clear difference"

    @property
    def gain_text(self) -> str:
        return gain_text(self.gain[MEAN_CLASS], self.gain_interval or (torch.nan, torch.nan))


def rows_of(methods: Sequence[Method], images: Images) -> list[Row]:
    """A row a method: plain, then trainings and then what is set after training, the best first."""
    plain = next(method for method in methods if method.name == PLAIN)
    rows = [_row(method, plain, images) for method in methods]
    return sorted(
        rows, key=lambda row: (row.method is not plain, row.method.is_post_hoc, -(row.scores[MEAN_CLASS] or 0.0))
    )


def claims_of(rows: Sequence[Row]) -> list[Claim]:
    """What is claimed of the methods, judged by the figures."""
    trained = {row.method.name: row for row in rows if not row.method.is_post_hoc}
    return [
        *(_beats_plain(name, trained.get(name)) for name in ("two_stage", "balanced_softmax")),
        _post_hoc_beats_plain([row for row in rows if row.method.is_post_hoc]),
        _few_shot_gain(rows),
    ]


def table_text(rows: Sequence[Row], claims: Sequence[Claim], provenance: str) -> str:
    """The table, its provenance and the claims, in Markdown."""
    headings = ["method", *COLUMNS.values(), "ECE", "gain in mean class", "by seed", "verdict"]
    align = "l" + "r" * (len(headings) - 2) + "l"
    return text_of_table(headings, align, [_cells(row) for row in rows], provenance, claims)


def _row(method: Method, plain: Method, images: Images) -> Row:
    def of(function: Callable[..., Scores], baseline: Tensor | None, seeds: slice = slice(None)) -> Scores:
        other = None if baseline is None else baseline[seeds]
        counts = images.counts
        return function(method.hits[seeds], other, images.labels, len(counts), counts, images.many, images.few)

    seeds = range(len(method.hits))
    return Row(
        method,
        of(paired_gains, None),
        of(paired_intervals, None),
        of(paired_gains, plain.hits),
        of(paired_intervals, plain.hits)[MEAN_CLASS],
        [of(paired_gains, plain.hits, slice(seed, seed + 1))[MEAN_CLASS] or 0.0 for seed in seeds],
    )


def _cells(row: Row) -> list[str]:
    method = row.method
    name = f"{PLAIN} + `{method.name}`" if method.is_post_hoc else f"`{method.name}`"
    scores = [_with_interval(row.scores[column], row.intervals[column]) for column in COLUMNS]
    cells = [name, *scores, f"{percent(sum(method.ece) / len(method.ece))} [{_span(method.ece, percent)}]"]
    if method.name == PLAIN and not method.is_post_hoc:
        return [*cells, "", "", ""]
    return [*cells, row.gain_text, _span(row.seed_gains, signed), row.verdict]


def _beats_plain(name: str, row: Row | None) -> Claim:
    text = f"`{name}` beats plain in mean class accuracy"
    if row is None:
        return Claim(text, None, "no such row")
    return Claim(text, row.verdict == "better", row.gain_text)


def _post_hoc_beats_plain(rows: Sequence[Row]) -> Claim:
    text = f"at least {LEAST_POST_HOC} methods after training beat plain in mean class accuracy"
    if not rows:
        return Claim(text, None, "no such row")
    better = [f"`{row.method.name}`" for row in rows if row.verdict == "better"]
    return Claim(text, len(better) >= LEAST_POST_HOC, ", ".join(better) or "none does")


def _few_shot_gain(rows: Sequence[Row]) -> Claim:
    best = max(rows, key=lambda row: row.scores[MEAN_CLASS] or 0.0)
    text = f"the best by mean class accuracy is at least {100 * LEAST_FEW_SHOT_GAIN:.0f} points better on few-shot"
    gain, name = best.gain["few"], f"`{best.method.name}`"
    if gain is None:
        return Claim(text, None, f"{name}, but val has no few-shot class")
    return Claim(text, gain >= LEAST_FEW_SHOT_GAIN, f"{name}, {signed(gain)}")


def _with_interval(score: float | None, interval: Interval) -> str:
    if score is None or interval is None:
        return "n/a"
    return f"{percent(score)} ({percent(interval[0])} - {percent(interval[1])})"


def _span(values: Sequence[float], text: Callable[[float], str]) -> str:
    return f"{text(min(values))} .. {text(max(values))}"
