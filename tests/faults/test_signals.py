"""Asked to end, a run ends its step, saves, says how to go on, and goes on to the same digits."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from equality import differences
from kills import Pace
from runs import NAME, NUM_STEPS, Launch, Place
from trials import trials
from warm import LIMIT_S, Program, Warm

pytestmark = [pytest.mark.slow, pytest.mark.faults]
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT)
AGAIN, INTERRUPTED = 75, 130
WITH_WORKERS = {"num_ranks": 1, "options": ("data.num_workers=2",)}
WITH_RANKS = {"num_ranks": 2}


@pytest.mark.parametrize("seed", trials(20))
@pytest.mark.parametrize("kind", [WITH_WORKERS, WITH_RANKS], ids=["with workers", "with two ranks"])
def test_a_run_that_is_asked_to_end_saves_and_goes_on_to_the_same_digits(
    warm: Warm, place: Place, whole: Callable[[Launch], tuple[Path, Pace]], tally, kind: dict, seed: int
) -> None:
    title = f"runs {'with workers' if kind is WITH_WORKERS else 'with two ranks'} that saved when asked to end"
    tally.tried(title)
    chance = random.Random(f"signals {seed}")
    # The reference reads without workers: what is read does not depend on them.
    run, _ = whole(Launch(num_ranks=kind["num_ranks"]))
    number, is_real = SIGNALS[seed % 4], seed // 4 == 2
    launch = Launch(is_real=is_real, **kind)
    programs = launch.start(warm, place)
    _await_step(place, chance.randint(1, NUM_STEPS - 3), programs)
    time.sleep(chance.random() * 0.1)
    asked_at = place.steps()
    _send(number, programs, place, to_all=chance.random() < 0.5)
    statuses = [program.wait() for program in programs]
    printed = "".join(program.printed() for program in programs)
    assert statuses == _expected(number, programs), printed[-3000:]
    place.await_nobody()
    assert f"--RESUME_MODEL log/{NAME}/last" in printed or "--RESUME_MODEL auto" in printed, printed[-3000:]
    assert "Traceback" not in printed
    assert asked_at <= json.loads((place.run / "last" / "manifest.json").read_text())["step"] < NUM_STEPS
    launch.finish(warm, place, f"log/{NAME}/last")
    assert differences(place.run, run) == []
    tally.held(title, **{number.name: 1})


def _await_step(place: Place, aim: int, programs: Sequence[Program]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while place.steps() < aim:
        assert programs[0].poll() is None, programs[0].printed()[-3000:]
        assert time.monotonic() < deadline, f"never came to step {aim}"
        time.sleep(0.002)


def _send(number: signal.Signals, programs: Sequence[Program], place: Place, to_all: bool) -> None:
    """To the programs that were started, or to all processes, as a terminal and a batch system do."""
    for pid in place.processes() if to_all else [program.pid for program in programs]:
        os.kill(pid, number)


def _expected(number: signal.Signals, programs: Sequence[Program]) -> list[int]:
    # Ranks under an agent end well, so that it does not start them anew.
    if len(programs) > 1:
        return [0] * len(programs)
    return [INTERRUPTED if number == signal.SIGINT else AGAIN]
