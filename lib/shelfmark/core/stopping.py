"""Signals that ask a run to stop: it ends its step, saves, and says how to go on.

SIGTERM, SIGHUP and SIGUSR1 come from a scheduler that wants the machine back, SIGINT from Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from shelfmark.core.exit_codes import ExitCode

STOPPING = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT)
PREEMPTED, INTERRUPTED = ExitCode.PREEMPTED, ExitCode.INTERRUPTED
ENOUGH_INTERRUPTS = 3
LAUNCH = "SHELFMARK_LAUNCH"
"""The environment variable in which our launcher tells its processes the id of the launch."""


class Stopped(Exception):  # noqa: N818, it is no error
    """A signal ended the run. advice: what is kept, and the command that goes on."""

    def __init__(self, number: int, advice: str = "") -> None:
        super().__init__(number, advice)
        self.number = number
        self.advice = advice

    def __str__(self) -> str:
        name = "Ctrl-C" if self.number == signal.SIGINT else signal.Signals(self.number).name
        told = f"stopped by {name}"
        return f"{told}: {self.advice}" if self.advice else told

    @property
    def exit_status(self) -> int:
        """75, which schedulers take for "start me again", or 130 after Ctrl-C.

        0 in a process that torchrun's agent started: what stopped well is not to be started again by it.
        """
        if "WORLD_SIZE" in os.environ and LAUNCH not in os.environ:
            return 0
        return INTERRUPTED if self.number == signal.SIGINT else PREEMPTED


class StopSignals:
    """A block in which a stopping signal is only remembered. Code that can end well calls `raise_if_stopped`.

    A signal can come at any line: within another library, which may take an exception for its own, or while loader
    processes start. So the handler raises nothing, except KeyboardInterrupt at the third Ctrl-C. received: the first
    signal, 0 for none. kept: says, for the third Ctrl-C, what is on the disk. Outside the main thread the block changes
    no handler: Python does not allow it.
    """

    def __init__(self) -> None:
        self.received = 0
        self.kept: Callable[[], str] = lambda: ""
        self._num_interrupts = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            # An ignored signal, as SIGHUP under nohup, stays ignored.
            heard = [number for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._handle) for number in heard}
        if _entered:
            self.received = _entered[-1].received
        _entered.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _entered.remove(self)
        for number, handler in self._before.items():
            # A handler that was not set by Python cannot be put back by it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def raise_if_received(self, advice: str = "") -> None:
        """Raises `Stopped` where a signal came."""
        if self.received:
            raise Stopped(self.received, advice)

    def forget(self) -> None:
        """Drops the signal that was received."""
        self.received = 0

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number
        self._num_interrupts += number == signal.SIGINT
        if self._num_interrupts >= ENOUGH_INTERRUPTS:
            raise KeyboardInterrupt(*filter(None, [self.kept()]))


@contextmanager
def held_back() -> Iterator[None]:
    """A block in which stopping signals wait: for this thread, and for each process that is started within the block.

    Such a process says itself, with `ignore_from_here`, from when on they are harmless.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_from_here() -> None:
    """Makes this process ignore stopping signals, those too that `held_back` kept waiting."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


_entered: list[StopSignals] = []


def received() -> int:
    """The first signal that came to this process within `StopSignals`; 0 for none."""
    return _entered[-1].received if _entered else 0


def raise_if_stopped() -> None:
    """Raises `Stopped` if a signal came to this process. Long passes call it where they can end.

    With several processes, call it only within a block of `core.together`, which ends the pass in all of them.
    """
    if _entered:
        _entered[-1].raise_if_received()
