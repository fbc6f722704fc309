"""A run that is killed, wherever, goes on and ends with the digits of one that nothing stopped."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from equality import differences
from kills import Kill, Pace, strike
from runs import Launch, Place, go_on
from trials import trials
from warm import Warm

pytestmark = [pytest.mark.slow, pytest.mark.faults]
TITLE = "runs killed at random that ended bit for bit as a whole one"
WAYS = ("last", "auto")
ATTEMPTS = 4


@pytest.mark.parametrize("seed", trials(60))
def test_a_killed_run_ends_with_the_digits_of_a_whole_one(
    warm: Warm, place: Place, whole: Callable[[Launch], tuple[Path, Pace]], tally, seed: int
) -> None:
    tally.tried(TITLE)
    chance = random.Random(f"kills {seed}")
    launch = Launch(num_ranks=1 + seed % 2, is_real=seed % 10 in (3, 8))
    run, pace = whole(launch)
    landed: Counter[str] = Counter()
    resume = None
    # A kill may come too late; then the run has ended, and another one is begun.
    for _ in range(ATTEMPTS):
        programs = launch.start(warm, place, resume)
        kill = Kill.draw(chance, launch.num_ranks)
        if strike(kill, programs, place, pace):
            landed[f"kills {kill.phase}"] += 1
        if landed and (landed.total() == 2 or chance.random() < 0.5):
            break
        resume = go_on(place, chance.choice(WAYS))
    assert landed, f"none of {ATTEMPTS} kills came in time"
    launch.finish(warm, place, go_on(place, chance.choice(WAYS)))
    assert differences(place.run, run) == [], f"after {dict(landed)}"
    tally.held(TITLE, **landed)
