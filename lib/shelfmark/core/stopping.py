"""Signals that ask a run to stop: it ends its step, saves, and says how to go on.

SIGTERM, SIGHUP and SIGUSR1 come from a scheduler that wants the machine back, SIGINT from Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPPING = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT)
PREEMPTED, INTERRUPTED = 75, 130


class Stopped(Exception):  # noqa: N818, it is no error
    """A signal ended the run. advice: what is kept, and the command that goes on."""

    def __init__(self, number: int, advice: str = "") -> None:
        super().__init__(number, advice)
        self.number = number
        self.advice = advice

    def __str__(self) -> str:
        told = f"stopped by {signal.Signals(self.number).name}"
        return f"{told}: {self.advice}" if self.advice else told

    @property
    def exit_status(self) -> int:
        """75, which schedulers take for "start me again", or 130 after Ctrl-C.

        0 in a process that a launcher started: what stopped well is not to be started again by it.
        """
        if "WORLD_SIZE" in os.environ:
            return 0
        return INTERRUPTED if self.number == signal.SIGINT else PREEMPTED


class StopSignals:
    """While it is entered, a stopping signal raises `Stopped`, or, inside `deferred`, is only remembered.

    received: the signal that came while it was deferred; 0 where none did. Outside the main thread signals stay
    what they were: Python lets no other thread set them.
    """

    def __init__(self) -> None:
        self.received = 0
        self._num_deferred = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            # What is ignored, as SIGHUP under nohup, stays ignored.
            heard = [number for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._handle) for number in heard}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            # A handler that was not set by Python cannot be put back by it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    @contextmanager
    def deferred(self, is_needed: bool = True) -> Iterator[None]:
        """Inside, a signal waits until somebody asks for `received`; what is still waiting at the end is raised.

        is_needed: False leaves all as it is. Several processes need it wherever they wait for each other.
        """
        self._num_deferred += is_needed
        try:
            yield
        finally:
            self._num_deferred -= is_needed
        if self.received and not self._num_deferred:
            raise Stopped(self.received)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside `deferred`, a part in which a signal raises `Stopped` where it meets the program."""
        deferred, self._num_deferred = self._num_deferred, 0
        try:
            if self.received:
                raise Stopped(self.received)
            yield
        finally:
            self._num_deferred = deferred

    def forget(self) -> None:
        """What came is of no consequence any more."""
        self.received = 0

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number
        if not self._num_deferred:
            raise Stopped(self.received)
