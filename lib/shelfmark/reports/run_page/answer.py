"""The answer first: the scores with their intervals, and what changed since the run's parent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shelfmark.core.score_names import score_name
from shelfmark.reports.html.parts import DataTable, Number, Numbers, Part, Text
from shelfmark.reports.tables import score_text

_SHOWN = ("mean_class_accuracy", "top1", "many", "medium", "few", "recall@1", "map@r", "ece")
_NOTES = {"ece": "how far confidence is from accuracy"}


def scores_told(summary: Mapping[str, Any]) -> Numbers:
    """The scores of summary.json that a reader asks for first."""
    return Numbers(tuple(_number(name, summary) for name in _SHOWN if summary.get(name) is not None))


def change_told(
    parent: str, before: Mapping[str, Any], now: Mapping[str, Any], changed: Sequence[tuple[str, str, str]]
) -> tuple[Part, ...]:
    """The scores of the parent run beside those of this one, and the options that differ: (option, before, now)."""
    shared = [name for name in _SHOWN if before.get(name) is not None and now.get(name) is not None]
    rows = tuple(
        (score_name(name), _with_interval(name, before), _with_interval(name, now), _step(before[name], now[name]))
        for name in shared
    )
    parts: list[Part] = []
    if rows:
        parts.append(DataTable(f"Scores since {parent}", ("", parent, "this run", "change"), rows))
        parts.append(
            Text("Intervals are of each run alone; shelfmark compare sets both side by side, image by image.", True)
        )
    if changed:
        parts.append(
            DataTable(f"Options that differ from {parent}", ("option", "there", "here"), tuple(changed), is_text=True)
        )
    elif rows:
        parts.append(Text(f"All options are those of {parent}."))
    return tuple(parts)


def _number(name: str, summary: Mapping[str, Any]) -> Number:
    interval = _interval(name, summary)
    return Number(score_text(name, summary[name]), score_name(name), interval or _NOTES.get(name, ""))


def _interval(name: str, summary: Mapping[str, Any]) -> str:
    low, high = summary.get(f"{name}_low"), summary.get(f"{name}_high")
    return "" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}"


def _with_interval(name: str, summary: Mapping[str, Any]) -> str:
    interval = _interval(name, summary)
    return score_text(name, summary[name]) + (f" ({interval})" if interval else "")


def _step(before: float, now: float) -> str:
    return f"{100 * (now - before):+.1f} points"
