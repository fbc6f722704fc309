"""strace, attached to a save: which system calls it makes, and death before a chosen one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from warm import Program, Warm

# What changes a disk. Opening for writing is left out: death before the first write leaves the same.
CHANGES = (
    *("write", "pwrite64", "writev", "fsync", "fdatasync", "ftruncate", "fallocate", "copy_file_range", "sendfile"),
    *("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat"),
    *("mkdir", "mkdirat", "rmdir", "chmod", "fchmod", "fchmodat"),
)
_CALL = re.compile(r"^\d+\s+(\w+)\(")


def why_not() -> str | None:
    """The reason for which nothing can be traced here."""
    if shutil.which("strace") is None:
        return "strace is missing: apt install strace"
    return None


@dataclass(frozen=True)
class Point:
    """Death before the `number`-th call of `call`, counted from 1."""

    call: str
    number: int


def trace(program: Program, options: Sequence[str], log: Path) -> int:
    """Attaches to a program that stopped itself, lets it go on, and gives its exit status."""
    _await_stopped(program)
    command = ["strace", "-f", "-y", "-s", "0", "-o", str(log), "-p", str(program.pid), *options]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        first = tracer.stderr.readline()
        assert "attached" in first, f"strace cannot attach: {first}"
        os.kill(program.pid, signal.SIGCONT)
        return program.wait()
    finally:
        tracer.terminate() if program.poll() is None else None
        tracer.communicate(timeout=60)


def _await_stopped(program: Program) -> None:
    deadline = time.monotonic() + 60
    while _state(program.pid) != "T":
        assert program.poll() is None, f"ended before it saved: {program.printed()}"
        assert time.monotonic() < deadline, "never came to its save"
        time.sleep(0.001)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def start_stopped(warm: Warm, name: str, folder: Path, version: int) -> Program:
    """A process that is about to save; see `saves.stopped`."""
    return warm.start("saves:stopped", name, str(folder), version, folder=folder)


def calls(warm: Warm, name: str, folder: Path, version: int) -> list[str]:
    """The lines of strace for a save that nothing disturbs: a number and a call each, in order."""
    log = folder.parent / "calls.log"
    program = start_stopped(warm, name, folder, version)
    status = trace(program, ["-e", f"trace={','.join(CHANGES)}"], log)
    assert status == 0, program.printed()
    return [line for line in log.read_text().splitlines() if _CALL.match(line)]


def points(lines: Sequence[str]) -> list[Point]:
    """Every call as a point at which to die."""
    counts: Counter[str] = Counter()
    found = []
    for line in lines:
        call = _CALL.match(line)[1]  # type: ignore[index]
        counts[call] += 1
        found.append(Point(call, counts[call]))
    return found


def die_at(point: Point, warm: Warm, name: str, folder: Path, version: int) -> None:
    """A save that is killed as it makes the call, which the kernel then does not carry out."""
    program = start_stopped(warm, name, folder, version)
    inject = f"inject={point.call}:signal=KILL:when={point.number}"
    status = trace(program, ["-e", f"trace={point.call}", "-e", inject], folder.parent / "death.log")
    assert status == -signal.SIGKILL, f"{point} was not reached: status {status}; {program.printed()}"
