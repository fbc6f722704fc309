"""A process's sign of life: what it does, and when it last went on. `core.watch` looks at it; nothing here waits."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_LEAST_WORK_S = 0.01


@dataclass
class Pulse:
    """phase: what the main thread does: step, evaluation, report, saving. at: its last beat, on the monotonic clock.
    working: how many blocks of `working` it is in. waits_for_main: see `dist.wait_for_main`."""

    phase: str = "start"
    at: float = field(default_factory=time.monotonic)
    working: int = 0
    waits_for_main: bool = False

    def age_s(self) -> float:
        """Seconds since the last beat."""
        return time.monotonic() - self.at


pulse = Pulse()
"""This process's own."""


def beat(phase: str) -> None:
    """The main thread goes on, in this phase. It costs less than a microsecond."""
    pulse.phase, pulse.at = phase, time.monotonic()


@contextmanager
def working(phase: str) -> Iterator[None]:
    """A block of long work that cannot beat, as a search; it counts as going on while the process computes."""
    before = pulse.phase
    pulse.working += 1
    beat(phase)
    try:
        yield
    finally:
        pulse.working -= 1
        beat(before)


class SignsOfWork:
    """Whether any thread but the calling one used the CPU since the last call."""

    def __init__(self) -> None:
        self._before = self._now()

    def seen(self) -> bool:
        computed, place = self._now()
        had_computed, had_place = self._before
        if computed - had_computed < _LEAST_WORK_S and place == had_place:
            return False
        self._before = computed, place
        return True

    def _now(self) -> tuple[float, tuple[object, ...]]:
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        place = () if frame is None else (frame.f_code, frame.f_lasti, frame.f_lineno)
        return time.process_time() - time.thread_time(), place
