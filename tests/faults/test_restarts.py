"""A rank dies under an agent that restarts all: the new attempt goes on from its own `last`, to the same digits."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import agents
import pytest
from equality import differences
from kills import Pace
from runs import NUM_STEPS, RECIPE, Launch, Place
from trials import trials
from warm import CHECKOUT, LIMIT_S, Program, Warm, started

pytestmark = [pytest.mark.slow, pytest.mark.faults]
TITLE = "restarts after the death of a rank that went on from their own checkpoint to equal digits"
MAX_RESTARTS = 2


@pytest.mark.parametrize("seed", trials(20))
def test_a_restarted_launch_resumes_its_own_run(
    warm: Warm, place: Place, whole: Callable[[Launch], tuple[Path, Pace]], tally, seed: int
) -> None:
    tally.tried(TITLE)
    chance = random.Random(f"restarts {seed}")
    run, _ = whole(Launch(num_ranks=2))
    program = _launch(warm, place, is_real=seed % 10 == 9)
    aims = sorted(chance.sample(range(1, NUM_STEPS - 1), chance.choice((1, MAX_RESTARTS))))
    for aim in aims:
        _await_step(place, aim, program)
        time.sleep(chance.random() * 0.2)
        os.kill(chance.choice(_await_ranks(place, program)), 9)
        _await_new_ranks(place, program)
    status = program.wait()
    assert status == 0, program.printed()[-3000:]
    place.await_nobody()
    assert differences(place.run, run) == [], f"killed after the steps {aims}"
    tally.held(TITLE, **{"ranks killed": len(aims)})


def _launch(warm: Warm, place: Place, is_real: bool) -> Program:
    words = ["train", *RECIPE]
    if is_real:
        return started(agents.real(RECIPE, MAX_RESTARTS, str(CHECKOUT / "main.py")), place.folder)
    return warm.start("agents:forked", words, MAX_RESTARTS, folder=place.folder)


def _await_step(place: Place, aim: int, program: Program) -> None:
    deadline = time.monotonic() + LIMIT_S
    while place.steps() < aim:
        assert program.poll() is None, f"ended before step {aim}:\n{program.printed()[-3000:]}"
        assert time.monotonic() < deadline, f"never came to step {aim}:\n{program.printed()[-3000:]}"
        time.sleep(0.005)


def _ranks(place: Place, program: Program) -> list[int]:
    """The agent's children but for those that only keep house."""
    return [pid for pid in place.processes() if _parent(pid) == program.pid and "resource_tracker" not in _words(pid)]


def _await_ranks(place: Place, program: Program) -> list[int]:
    """Those that are there, or the next attempt's: the step may be one that the attempt before has logged."""
    deadline = time.monotonic() + LIMIT_S
    while not (ranks := _ranks(place, program)):
        assert program.poll() is None, f"ended before it was killed:\n{program.printed()[-3000:]}"
        assert time.monotonic() < deadline, f"no rank was started:\n{program.printed()[-3000:]}"
        time.sleep(0.01)
    return ranks


def _await_new_ranks(place: Place, program: Program) -> None:
    """Until the agent has ended the old attempt, so that the next kill hits another one."""
    before = set(_ranks(place, program))
    deadline = time.monotonic() + LIMIT_S
    while before & set(place.processes()):
        assert time.monotonic() < deadline, f"the former ranks stay:\n{program.printed()[-3000:]}"
        time.sleep(0.01)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
