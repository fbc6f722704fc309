"""`kill -9` at a moment drawn by chance: in which phase of a run, how far in it, and who is hit."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from runs import NUM_STEPS, Place
from warm import LIMIT_S, Program

from shelfmark.engine.metrics_log import read_metrics

PHASES = ("starting", "training", "saving", "evaluating", "reporting")
VICTIMS = ("all", "main", "rank")
ALONE_S = 3.0
_LOOK_S = 0.002
_SAVE_S, _STEP_S = 0.06, 0.1


@dataclass(frozen=True)
class Kill:
    """at: how far in the phase, 0 to 1. victim: every process, the one that was started, or one rank of two."""

    phase: str
    at: float
    victim: str

    @classmethod
    def draw(cls, chance: random.Random, num_ranks: int) -> Kill:
        return cls(chance.choice(PHASES), chance.random(), chance.choice(VICTIMS if num_ranks > 1 else VICTIMS[:1]))


@dataclass(frozen=True)
class Pace:
    """Seconds of a whole run: from the start to the first step, for a validation, for the last reports."""

    starting_s: float
    evaluating_s: float
    reporting_s: float

    @classmethod
    def of(cls, programs: Sequence[Program], place: Place) -> Pace:
        """Watches a run that is left alone, to its end."""
        begun = time.monotonic()
        moments = [
            _await(partial(test, place), programs) for test in (_has_begun, _validates, _has_validated, _reports)
        ]
        for program in programs:
            assert program.wait() == 0, program.printed()[-3000:]
        first, validates, validated, reports = moments
        assert None not in moments, "a phase was not seen"
        return cls(first - begun, validated - validates, time.monotonic() - reports)


def strike(kill: Kill, programs: Sequence[Program], place: Place, pace: Pace) -> bool:
    """Waits for the moment, kills, and waits until no process is left. False where the run had ended before."""
    begun_at = place.steps()
    reached = _moment(kill, programs, place, pace, begun_at)
    if not reached or programs[0].poll() is not None:
        return False
    if kill.victim == "all":
        place.kill_all()
    elif kill.victim == "main":
        programs[0].kill()
    else:
        _kill_one_rank(programs, place, last=kill.at > 0.5)
    if len(programs) > 1:
        _end_as_torchrun_would(programs, place)
    place.await_nobody()
    return True


def _moment(kill: Kill, programs: Sequence[Program], place: Place, pace: Pace, begun_at: int) -> bool:
    left = NUM_STEPS - begun_at
    aim = begun_at + 1 + int(kill.at * left)
    if kill.phase == "starting":
        delay = kill.at * pace.starting_s
        reached: float | None = time.monotonic()
    elif kill.phase == "training":
        delay = (kill.at * 997 % 1) * _STEP_S
        reached = _await(lambda: place.steps() >= min(aim, NUM_STEPS), programs)
    elif kill.phase == "saving":
        delay = (kill.at * 997 % 1) * _SAVE_S
        if (reached := _await(lambda: place.steps() >= min(aim, NUM_STEPS - 1), programs)) is not None:
            before = _listing(place.run)
            reached = _await(lambda: _listing(place.run) != before, programs)
    elif kill.phase == "evaluating":
        delay = (kill.at * 997 % 1) * pace.evaluating_s
        epoch = _epoch_of(begun_at) if kill.at < 0.5 else 1
        reached = _await(lambda: _validates(place, epoch), programs)
    else:
        delay = kill.at * pace.reporting_s
        reached = _await(lambda: _reports(place), programs)
    if reached is None:
        return False
    time.sleep(delay)
    return True


def _epoch_of(step: int) -> int:
    return 0 if step < NUM_STEPS // 2 else 1


def _await(happens: Callable[[], bool], programs: Sequence[Program]) -> float | None:
    """The time at which it happened, None where the program ended before."""
    deadline = time.monotonic() + LIMIT_S
    while not happens():
        if programs[0].poll() is not None:
            return None
        assert time.monotonic() < deadline, f"nothing happened; it printed:\n{programs[0].printed()[-2000:]}"
        time.sleep(_LOOK_S)
    return time.monotonic()


def _has_begun(place: Place) -> bool:
    return place.steps() > 0


def _validates(place: Place, epoch: int = 0) -> bool:
    return _has(place, "epoch", epoch)


def _has_validated(place: Place, epoch: int = 0) -> bool:
    return _has(place, "val", epoch)


def _has(place: Place, kind: str, epoch: int) -> bool:
    records = read_metrics(place.run / "metrics.jsonl")
    return any(record["kind"] == kind and record["epoch"] == epoch for record in records)


def _reports(place: Place) -> bool:
    """Whether the last checkpoint is there, so that only the reports are left."""
    return _manifest(place.run / "last").get("step") == NUM_STEPS


def _manifest(checkpoint: Path) -> dict[str, Any]:
    try:
        return json.loads((checkpoint / "manifest.json").read_text())
    except (OSError, ValueError):
        return {}


def _listing(folder: Path) -> set[tuple[str, int]]:
    try:
        return {(entry.name, entry.inode()) for entry in os.scandir(folder)}
    except OSError:
        return set()


def _kill_one_rank(programs: Sequence[Program], place: Place, last: bool) -> None:
    if len(programs) > 1:
        programs[-1 if last else 0].kill()
        return
    ranks = sorted(pid for pid in place.processes() if _rank_of(pid) is not None)
    if ranks:
        os.kill(ranks[-1 if last else 0], 9)
    else:
        # The launcher has not come so far as to start any.
        programs[0].kill()


def _end_as_torchrun_would(programs: Sequence[Program], place: Place) -> None:
    """Ranks without a launcher: who is left gets a while to notice, and may wait for a store that died."""
    deadline = time.monotonic() + ALONE_S
    while time.monotonic() < deadline and any(program.poll() is None for program in programs):
        time.sleep(0.01)
    place.kill_all()


def _rank_of(pid: int) -> str | None:
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    return next((one.decode() for one in variables if one.startswith(b"RANK=")), None)
