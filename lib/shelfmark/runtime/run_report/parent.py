"""The run that a run was made from: by finetuning, by recalibration, or with the newest checkpoint of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shelfmark.engine.checkpoint import load_checkpoint
from shelfmark.engine.checkpoint_folder import checkpoint_folder
from shelfmark.engine.resume import changes
from shelfmark.runtime.run_report.stored_run import StoredRun, or_none, summary_of
from shelfmark.runtime.trained_model import recalibrations


@dataclass(frozen=True)
class Parent:
    """folder: of the parent run. summary: its scores, {} where they are gone. changed: (option, before, now)."""

    folder: Path
    summary: Mapping[str, Any]
    changed: tuple[tuple[str, str, str], ...]


def parent_of(run: StoredRun) -> Parent | None:
    """The parent, if the run had one and its checkpoint is still there."""
    steps = recalibrations(run.checkpoint.manifest)
    place = Path(steps[-1]["from_checkpoint"]) if steps and "from_checkpoint" in steps[-1] else _typed(run)
    if place is None:
        return None
    found = or_none(lambda: load_checkpoint(checkpoint_folder(place)))
    if found is None or found.folder.parent.resolve() == run.folder.resolve():
        return None
    now, before = run.checkpoint.manifest["config"], found.manifest["config"]
    changed = [(one.option, str(one.before), str(one.now)) for one in changes(before, now) if one.option != "name"]
    return Parent(found.folder.parent, summary_of(found.folder.parent), tuple(changed))


def _typed(run: StoredRun) -> Path | None:
    """The checkpoint of another run that the run's first command names."""
    if not run.environments:
        return None
    return _behind("--RESUME_MODEL", run.environments[0].get("command", ()))


def _behind(option: str, words: Sequence[str]) -> Path | None:
    for place, word in enumerate(words):
        if word == option and place + 1 < len(words):
            return None if words[place + 1] == "auto" else Path(words[place + 1])
        if word.startswith(f"{option}="):
            return Path(word.partition("=")[2])
    return None
