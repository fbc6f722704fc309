"""Starts the processes of one run on one machine, hands signals on to them, and ends them together.

torchrun's agent (torch 2.14) does not do this: SIGUSR1 kills it, it waits at most 30 seconds for a checkpoint, a second
Ctrl-C ends it, its only error status is 1, and its processes outlive it when it is killed.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta

from torch.distributed import TCPStore

from shelfmark.core.dist import STORE
from shelfmark.core.lineage import PARENT
from shelfmark.core.log import say, warn
from shelfmark.core.stopping import ENOUGH_INTERRUPTS, INTERRUPTED, LAUNCH, PREEMPTED

SAVING_S = 300.0
"""How long the processes may take after a signal to finish their step and to save."""
FOLLOWING_S = 10.0
"""How long the others may take to end by themselves once one has failed."""

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGINT") if hasattr(signal, name)]
_STOPPED = (PREEMPTED, INTERRUPTED)
_KILLED_S = 10.0


def run_ranks(
    command: Sequence[str],
    environment: Mapping[str, str],
    num_processes: int,
    saving_s: float = SAVING_S,
    following_s: float = FOLLOWING_S,
) -> int:
    """Runs the command once a rank and returns the exit status of all.

    0 where all end well; PREEMPTED or INTERRUPTED where they end well after a signal; otherwise the status of the first
    process that failed (128 + the signal that killed it), after which the others are ended. Nothing is restarted.
    SIGTERM, SIGHUP, SIGUSR1 and SIGINT are handed on to every rank once; a signal that this process ignores (nohup)
    is not. The third Ctrl-C, or the end of saving_s, kills the ranks.
    """
    # Only processes of this machine can reach this address.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        store = TCPStore(
            "127.0.0.1",
            port,
            is_master=True,
            wait_for_workers=False,
            timeout=timedelta(seconds=60),
            master_listen_fd=os.dup(listening.fileno()),
        )
    shared = {
        **environment,
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        STORE: f"127.0.0.1:{port}",
        LAUNCH: uuid.uuid4().hex,
        PARENT: str(os.getpid()),
    }
    with _Received() as received:
        ranks = _Ranks(command, shared, num_processes)
        try:
            status = ranks.wait(received, saving_s, following_s)
        finally:
            ranks.kill()
    del store
    return status


class _Received:
    """The signals that came, in order, while the block runs."""

    def __init__(self) -> None:
        self.signals: list[int] = []

    def __enter__(self) -> _Received:
        heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        self._before = {number: signal.getsignal(number) for number in heard}
        for number in heard:
            signal.signal(number, lambda received, _frame: self.signals.append(received))
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class _Ranks:
    def __init__(self, command: Sequence[str], environment: Mapping[str, str], num_processes: int) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._first_failure: int | None = None
        self._end_at = float("inf")
        try:
            for rank in range(num_processes):
                own = {**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                # A process group of its own: a terminal's signal to its group then reaches the ranks once, through us.
                self._processes.append(subprocess.Popen(command, env=own, stdin=subprocess.DEVNULL, process_group=0))
        except BaseException:
            self.kill()
            raise

    def wait(self, received: _Received, saving_s: float, following_s: float) -> int:
        handed_on: set[int] = set()
        while self._is_any_alive():
            for number in [one for one in received.signals if one not in handed_on]:
                handed_on.add(number)
                self._send(number)
                self._end_by(saving_s)
                if number == signal.SIGINT:
                    say("Ctrl-C: the run ends after its step or batch; pressed twice more, it ends at once.")
            if self._first_failure is not None:
                self._end_by(following_s)
            if time.monotonic() > self._end_at or received.signals.count(signal.SIGINT) >= ENOUGH_INTERRUPTS:
                self.kill()
                self._first_failure = self._first_failure or -signal.SIGKILL
                break
            time.sleep(0.05)
        return self._status(received.signals)

    def kill(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            # A process that the kernel holds (a lost disk, a wedged GPU) may never end, so the wait has a limit.
            with suppress(subprocess.TimeoutExpired):
                process.wait(_KILLED_S)

    def _is_any_alive(self) -> bool:
        statuses = [process.poll() for process in self._processes]
        if self._first_failure is None:
            self._first_failure = next((one for one in statuses if one and one not in _STOPPED), None)
            if self._first_failure is not None and self._first_failure < 0:
                # A killed process could print nothing itself.
                name = signal.Signals(-self._first_failure).name
                why = " (the system does so when memory runs out)" if name == "SIGKILL" else ""
                warn(f"process {statuses.index(self._first_failure)} was ended by {name}{why}; the others end too.")
        return None in statuses

    def _send(self, number: int) -> None:
        for process in self._processes:
            process.send_signal(number)

    def _end_by(self, seconds: float) -> None:
        self._end_at = min(self._end_at, time.monotonic() + seconds)

    def _status(self, signals: Sequence[int]) -> int:
        failure = self._first_failure
        if failure:
            return failure if failure > 0 else 128 - failure
        stopped = [process.returncode for process in self._processes if process.returncode in _STOPPED]
        if stopped:
            return stopped[0]
        if not signals:
            return 0
        return INTERRUPTED if signals[0] == signal.SIGINT else PREEMPTED
