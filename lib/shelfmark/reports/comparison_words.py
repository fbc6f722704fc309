"""A comparison of runs in the words and numbers of its screen and its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from shelfmark.config.write import inline
from shelfmark.core.score_names import score_name
from shelfmark.core.terminal import percent


class Score(Protocol):
    """See `evaluation.paired_scores.PairedScore`."""

    @property
    def name(self) -> str: ...
    @property
    def values(self) -> tuple[float | None, ...]: ...
    @property
    def differences(self) -> tuple[float | None, ...]: ...
    @property
    def difference_intervals(self) -> tuple[tuple[float, float] | None, ...]: ...
    def verdict(self, model: int) -> str: ...


class Answers(Protocol):
    """See `evaluation.agreement.Agreement`."""

    @property
    def num_images(self) -> int: ...
    @property
    def same(self) -> int: ...
    @property
    def both_right(self) -> int: ...
    @property
    def only_first(self) -> int: ...
    @property
    def only_second(self) -> int: ...
    @property
    def neither(self) -> int: ...
    @property
    def p_value(self) -> float: ...


class Option(Protocol):
    """See `runtime.run_config.ConfigDifference`."""

    @property
    def option(self) -> str: ...
    @property
    def values(self) -> tuple[Any, ...]: ...
    @property
    def origins(self) -> tuple[str | None, ...]: ...


_FACTS = {
    "train_images_per_s": "training, images/s",
    "train_features_per_s": "on stored features, images/s",
    "val_images_per_s": "evaluation, images/s",
    "peak_memory_bytes": "peak memory, MB",
    "num_parameters": "parameters",
    "weights_bytes": "weights on disk, MB",
    "num_train_images": "training images",
    "num_classes": "classes",
    "epoch": "epochs trained",
    "recalibrations": "recalibrated by",
}
_SELDOM = ("train_features_per_s",)
"""Rows that stand there only if some run has them."""
_VERDICTS = {"better": "better", "worse": "worse", "unclear": "no clear difference", "equal": "the same"}


def score_rows(scores: Sequence[Score]) -> list[list[str]]:
    """A row a score: its name, and a cell a run. Scores that no run has are left out."""
    return [
        [score_name(one.name), *(score_cell(one, model) for model in range(len(one.values)))]
        for one in scores
        if any(value is not None for value in one.values)
    ]


def score_cell(score: Score, model: int) -> str:
    """`82.0%, +1.2 (+0.3 to +2.1): better`: the differences in points of percent."""
    value, difference = percent(score.values[model]), score.differences[model]
    if difference is None:
        return value
    interval = interval_told(score.difference_intervals[model])
    return f"{value}, {points(difference)} ({interval}): {verdict_told(score, model)}"


def difference_rows(scores: Sequence[Score], model: int) -> list[list[str]]:
    """A row a score: its name, the first model's value, the other's, the difference, its interval, the verdict."""
    found = []
    for one in scores:
        if all(value is None for value in one.values):
            continue
        difference = one.differences[model]
        change = "n/a" if difference is None else points(difference)
        interval = interval_told(one.difference_intervals[model])
        values = percent(one.values[0]), percent(one.values[model])
        found.append([score_name(one.name), *values, change, interval, verdict_told(one, model)])
    return found


def verdict_told(score: Score, model: int) -> str:
    """better, worse, no clear difference, the same."""
    return _VERDICTS[score.verdict(model)]


def interval_told(interval: tuple[float, float] | None) -> str:
    """In points of percent."""
    return "no interval" if interval is None else f"{points(interval[0])} to {points(interval[1])}"


def points(difference: float) -> str:
    """A difference of two shares in points of percent, with its sign."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def agreement_told(found: Answers, first: str, second: str) -> str:
    """How often two models give the same answer, and which is right where they differ."""

    def share(number: int) -> str:
        return percent(number / found.num_images) if found.num_images else "n/a"

    return (
        f"same answer {share(found.same)}; both right {share(found.both_right)}, only {first}"
        f" {share(found.only_first)} ({found.only_first:,}), only {second} {share(found.only_second)}"
        f" ({found.only_second:,}), neither {share(found.neither)}; {p_told(found.p_value)}"
    )


def p_told(p_value: float) -> str:
    """What McNemar's test gives."""
    return f"McNemar's exact test: p {'< 0.0001' if p_value < 1e-4 else f'= {p_value:.4f}'}"


def fact_rows(runs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A row a fact: its name, and a cell a run."""
    shown = [key for key in _FACTS if key not in _SELDOM or any(run[key] is not None for run in runs)]
    return [[_FACTS[key], *(_fact(key, run[key]) for run in runs)] for key in shown]


def config_rows(found: Sequence[Option]) -> list[list[str]]:
    """A row an option: its key, and for each run the value, and where it was set."""
    return [[one.option, *(_option(value, origin) for value, origin in zip(one.values, one.origins))] for one in found]


def _option(value: Any, origin: str | None) -> str:
    if isinstance(value, Mapping):
        # What was set in an entry that another run lacks, such as a loss.
        return ", ".join(f"{name}: {inline(one)}" for name, one in value.items()) or "with defaults"
    shown = "none" if value is None and origin is None else inline(value)
    return f"{shown} ({origin})" if origin else shown


def _fact(key: str, value: Any) -> str:
    if value is None or value == []:
        return "n/a" if value is None else "nothing"
    if isinstance(value, list):
        return ", ".join(value)
    if key.endswith("_bytes"):
        return f"{value / 1e6:,.0f}"
    return f"{value:,.0f}"
