"""Names a process that hangs, and ends the run after a while: the others would wait for it in a collective for ever."""

from __future__ import annotations

import json
import os
import platform
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta

from torch.distributed import Store

from shelfmark.core import dist
from shelfmark.core.exit_codes import ExitCode
from shelfmark.core.heartbeat import SignsOfWork, beat, pulse

STALLED = ExitCode.STALLED
"""Exit status of processes that ended themselves because the run did not go on: EX_SOFTWARE of sysexits.h."""
_STORE_S = 20.0
_NUM_FRAMES = 8
_TOLD = "stall/told"
# If the innermost Python frame of the main thread is in one of these files, the process waits for other processes. The
# backward pass is among them, because DistributedDataParallel sums gradients there.
_WAITING_IN = (
    os.path.join("torch", "distributed", ""),
    os.path.join("torch", "nn", "parallel", "distributed.py"),
    os.path.join("torch", "autograd", "graph.py"),
    os.path.join("torch", "autograd", "__init__.py"),
)


# A loader process is a fork of this one. Forked while the watching thread uses the store, it would wait for ever for a
# lock that none of its threads holds.
_not_while_forking = threading.Lock()
os.register_at_fork(
    before=_not_while_forking.acquire,
    after_in_parent=_not_while_forking.release,
    after_in_child=_not_while_forking.release,
)


class Watch:
    """A block in which a thread of each process watches that the run goes on; see `heartbeat.beat`.

    After `stall_s` without a beat one process prints which processes wait and which do not, with the stacks of their
    main threads. After `stall_limit_s` the process ends at once, with status STALLED. A lone process, and processes
    that no launcher started (no WORLD_SIZE in the environment), are not watched.
    """

    def __init__(self, stall_s: float, stall_limit_s: float) -> None:
        self.stall_s, self.stall_limit_s = stall_s, stall_limit_s
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def __enter__(self) -> Watch:
        if dist.world_size() > 1 and self.stall_s > 0 and "WORLD_SIZE" in os.environ:
            beat("start")
            # A connection of its own: the one of the main thread may be blocked in a call.
            store = dist.store_of_this_attempt(timedelta(seconds=_STORE_S))
            watcher = _Watcher(store, self.stall_s, self.stall_limit_s, self._ended)
            self._thread = threading.Thread(target=watcher.run, daemon=True, name="watch")
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=_STORE_S)


@dataclass(frozen=True)
class _Sign:
    """The state that a process tells the others.

    number: grows while its watcher lives. place: host and process id. stack: of a stalled one's main thread.
    """

    number: int
    place: tuple[str, int]
    phase: str
    age_s: float
    waits: bool = False
    stack: str = ""


class _Watcher:
    def __init__(self, store: Store, stall_s: float, stall_limit_s: float, ended: threading.Event) -> None:
        self._store, self._ended = store, ended
        self._stall_s, self._limit_s = stall_s, stall_limit_s
        self._tick_s = min(1.0, stall_s / 8)
        self._rank, self._num_ranks = dist.rank(), dist.world_size()
        self._work = SignsOfWork()
        self._number = self._main_number = 0
        self._has_told = False

    def run(self) -> None:
        while not self._is_ended_after(self._tick_s):
            with _not_while_forking:
                age_s = self._look()
            if self._limit_s and age_s > self._limit_s:
                self._end(age_s)

    def _look(self) -> float:
        if pulse.working and self._work.seen():
            beat(pulse.phase)
        # The store ends with the process that holds it; `stall_limit_s` holds without the store too.
        with suppress(RuntimeError):
            if pulse.waits_for_main and self._main_goes_on():
                beat(pulse.phase)
        age_s = pulse.age_s()
        with suppress(RuntimeError):
            self._send(age_s)
            self._tell_if_stalled(age_s)
        return age_s

    def _is_ended_after(self, seconds: float) -> bool:
        before = time.monotonic()
        ended = self._ended.wait(seconds)
        overslept = time.monotonic() - before - seconds
        if overslept > max(1.0, seconds):
            # The whole process was suspended, as a scheduler suspends a job. That time does not count as a stall.
            pulse.at += overslept
        return ended

    def _send(self, age_s: float) -> None:
        self._number += 1
        place = (platform.node(), os.getpid())
        stack = _main_stack() if age_s > self._stall_s else (False, "")
        sign = _Sign(self._number, place, pulse.phase, age_s, *stack)
        self._store.set(f"sign/{self._rank}", json.dumps(asdict(sign)))

    def _tell_if_stalled(self, age_s: float) -> None:
        if age_s <= self._stall_s:
            if self._has_told:
                self._has_told = False
                self._store.delete_key(_TOLD)
                _print("the run goes on.")
            return
        # Wait one tick more for the stacks of the others; then the first process to set the key prints.
        if self._has_told or age_s <= self._stall_s + self._tick_s:
            return
        if self._store.compare_set(_TOLD, "", str(self._rank)).decode() == str(self._rank):
            self._has_told = True
            self._tell(age_s)

    def _tell(self, age_s: float) -> None:
        before = self._signs()
        self._is_ended_after(1.5 * self._tick_s)
        self._send(age_s)
        lines = [f"the run has not gone on for {age_s:.0f} s (train.stall_s={self._stall_s:g})."]
        signs = self._signs()
        lines += [_described(rank, signs[rank], before[rank], self._stall_s) for rank in range(self._num_ranks)]
        if self._limit_s:
            lines.append(
                f"In {max(0.0, self._limit_s - pulse.age_s()):.0f} s it ends (train.stall_limit_s={self._limit_s:g})."
            )
        _print("\n".join(lines))

    def _signs(self) -> list[_Sign | None]:
        return [self._sign(rank) for rank in range(self._num_ranks)]

    def _sign(self, rank: int) -> _Sign | None:
        key = f"sign/{rank}"
        # `get` alone would wait for a key that is not there.
        return _Sign(**json.loads(self._store.get(key))) if self._store.check([key]) else None

    def _main_goes_on(self) -> bool:
        sign = self._sign(0)
        number = 0 if sign is None else sign.number
        is_new, self._main_number = number != self._main_number, number
        return sign is not None and is_new and sign.age_s <= self._stall_s

    def _end(self, age_s: float) -> None:
        _print(
            f"process {self._rank} ends, because the run has not gone on for {age_s:.0f} s"
            f" (train.stall_limit_s={self._limit_s:g}). The last checkpoint is from before."
        )
        # The main thread may hang where no exception reaches it.
        os._exit(STALLED)


def _described(rank: int, sign: _Sign | None, before: _Sign | None, stall_s: float) -> str:
    if sign is None:
        return f"process {rank} has never given a sign."
    if before is not None and sign.number == before.number:
        host, number = sign.place
        return (
            f"process {rank} DOES NOT ANSWER, since phase {sign.phase}: it was stopped, its machine is gone, or a call"
            f" holds its interpreter. `py-spy dump --native --pid {number}` on {host} shows where it is."
        )
    if sign.age_s <= stall_s:
        return f"process {rank} goes on, in phase {sign.phase}."
    does = "waits for another process" if sign.waits else "DOES NOT WAIT for another process"
    return f"process {rank} {does}: in phase {sign.phase} for {sign.age_s:.0f} s, at\n{sign.stack}"


def _main_stack() -> tuple[bool, str]:
    """Whether the main thread waits for other processes, and its innermost frames."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    if frame is None:
        return False, ""
    waits = pulse.waits_for_main or any(part in frame.f_code.co_filename for part in _WAITING_IN)
    return waits, "".join(traceback.format_stack(frame)[-_NUM_FRAMES:]).rstrip()


def _print(text: str) -> None:
    print(f"stalled: {text}", file=sys.stderr, flush=True)
