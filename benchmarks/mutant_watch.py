"""Waits for a run of tests, and ends it where one hangs: judged by CPU time, since other work may make all late."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# A test hangs if it took this much CPU time and this many times its cost; or that many seconds by the clock, idle.
BUSY_S, IDLE_S = 60.0, 300.0
TIMES = 10.0
TICKS = os.sysconf("SC_CLK_TCK")


class Watch:
    """process: it leads a session. notes: what mutant_plugin.py writes. costs: CPU seconds of each test.

    hung: why the run was ended, or "". test: the one that ran last. cpu_s: what all processes took. On Linux.
    """

    def __init__(self, process: subprocess.Popen[bytes], notes: Path, costs: Mapping[str, float]) -> None:
        self.process = process
        self.hung = ""
        self.test = ""
        self.cpu_s = 0.0
        self._notes = notes
        self._costs = costs
        self._began = (0.0, time.monotonic())

    def wait(self) -> None:
        """Until the run ends or a test hangs."""
        while self.process.poll() is None and not self.hung:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.5)
            self.cpu_s = max(self.cpu_s, session_cpu_s(self.process.pid))
            self._look()

    def end(self) -> None:
        """Also what the tests left behind."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def events(self) -> list[dict[str, Any]]:
        # The last line may be half written.
        return [json.loads(line) for line in self._notes.read_text(encoding="utf-8").split("\n")[:-1]]

    def _look(self) -> None:
        started = [event["test"] for event in self.events() if event["event"] == "started"]
        if started and started[-1] != self.test:
            self.test, self._began = started[-1], (self.cpu_s, time.monotonic())
        usual = TIMES * self._costs.get(self.test, 0.0)
        busy, passed = self.cpu_s - self._began[0], time.monotonic() - self._began[1]
        if busy > max(BUSY_S, usual):
            self.hung = f"took {busy:.0f} s of CPU time"
        elif passed > max(IDLE_S, usual):
            self.hung = f"did not end in {passed:.0f} s"


def session_cpu_s(leader: int) -> float:
    """CPU seconds of the processes of a session, and of their children that have ended."""
    ticks = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # After the name, which may have blanks: state, parent, group, session, ..., and four times from the 12th.
            fields = file.read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[-1].split()
            if int(fields[3]) == leader:
                ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS
