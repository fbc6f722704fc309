"""Two runs of the mutants side by side, in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from mutant_kinds import KINDS
from mutant_runs import CAUGHT, GONE, HUNG, SURVIVED, results_of

from shelfmark.core.errors import UserError
from shelfmark.core.files import read_json

NOT_RUN = "not run"
SIDES = ("old", "new")


def table_text(mutants: Sequence[Mapping[str, Any]], old: Path, new: Path) -> str:
    """By kind, by room, and who survived. A mutant that hung counts as caught, and is counted apart too."""
    results = [_statuses(folder) for folder in (old, new)]
    commits = [read_json(folder / "commit.json")["commit"][:12] for folder in (old, new)]
    lines = [f"Old: {commits[0]}. New: {commits[1]}. Caught, of those by time-out, survived, gone.", ""]
    lines += _block("kind", mutants, results, lambda mutant: str(mutant["kind"]), KINDS)
    rooms = sorted({room_of(mutant) for mutant in mutants})
    lines += _block("room", mutants, results, room_of, rooms)
    for side, statuses in zip(SIDES, results):
        lines += _named(f"Survived the {side} tests", mutants, statuses, SURVIVED)
        lines += _named(f"Gone from the {side} code", mutants, statuses, GONE)
    lost = [one for one in mutants if _is_caught(results[0], one) and not _is_caught(results[1], one)]
    lines += [f"Caught by the old tests and not by the new: {', '.join(str(one['id']) for one in lost) or 'none'}."]
    return "\n".join(lines)


def room_of(mutant: Mapping[str, Any]) -> str:
    return PurePosixPath(mutant["module"]).parts[0]


def _statuses(folder: Path) -> dict[int, str]:
    lines = results_of(folder)
    if not lines:
        raise UserError(f"{folder} has no results; `mutants.py run COMMIT --out {folder}` makes them.")
    return {number: line["status"] for number, line in lines.items()}


def _is_caught(statuses: Mapping[int, str], mutant: Mapping[str, Any]) -> bool:
    return statuses.get(mutant["id"]) in (CAUGHT, HUNG)


def _block(
    title: str,
    mutants: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[int, str]],
    group_of: Callable[[Mapping[str, Any]], str],
    groups: Sequence[str],
) -> list[str]:
    heads = [f"{side} {what}" for side in SIDES for what in ("caught", "time-out", "survived", "gone")]
    rows = [f"| {title} | mutants | {' | '.join(heads)} |", "|---|" + "---:|" * (1 + len(heads))]
    for name in (*groups, "all"):
        members = [one for one in mutants if name in ("all", group_of(one))]
        cells: list[str] = []
        for statuses in results:
            count = Counter(statuses.get(one["id"], NOT_RUN) for one in members)
            cells += [str(count[CAUGHT] + count[HUNG]), str(count[HUNG]), str(count[SURVIVED]), str(count[GONE])]
            if count[NOT_RUN]:
                cells[-1] += f" ({count[NOT_RUN]} not run)"
        rows.append(f"| {name} | {len(members)} | {' | '.join(cells)} |")
    return [*rows, ""]


def _named(title: str, mutants: Sequence[Mapping[str, Any]], statuses: Mapping[int, str], status: str) -> list[str]:
    named = [one for one in mutants if statuses.get(one["id"]) == status]
    if not named:
        return []
    lines = [
        f"- {one['id']}. {one['kind']}, `{one['module']}`, `{one['function']}`: {_code(one['before'])} became "
        f"{_code(one['after'])}"
        for one in named
    ]
    return [f"{title}:", "", *lines, ""]


def _code(text: str) -> str:
    return f"`{text.splitlines()[0]}`"
