"""Which process a file on the disk belongs to, and whether that process still lives."""

from __future__ import annotations

import errno
import json
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from functools import cache
from pathlib import Path

try:
    import fcntl
except ImportError:  # a system without flock
    fcntl = None  # type: ignore[assignment]

_NO_FLOCK = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_COMMAND_CHARS = 300


@dataclass(frozen=True)
class Owner:
    """A process. boot, pid_space and started tell it from another process of the same number: one after a restart of
    the machine, in another container, or later. Each is empty where the system does not say."""

    host: str
    boot: str
    pid_space: str
    pid: int
    started: str
    command: str
    since: str

    @property
    def text(self) -> str:
        """One line of JSON, as it stands in the files."""
        return json.dumps(asdict(self)) + "\n"

    @property
    def is_gone(self) -> bool | None:
        """Whether the process has ended; None where that cannot be known from here."""
        here = this_process()
        if self.boot != here.boot:
            return True if self.host == here.host and self.boot and here.boot else None
        if (self.host != here.host and not self.boot) or self.pid_space != here.pid_space:
            return None
        return not _runs(self.pid, self.started)


def this_process() -> Owner:
    """The calling process, with `since` now."""
    return Owner(
        host=socket.gethostname(),
        boot=_boot(),
        pid_space=_pid_space(),
        pid=os.getpid(),
        started=_started(os.getpid()),
        command=shlex.join(sys.argv)[:_COMMAND_CHARS],
        since=datetime.now().astimezone().isoformat(timespec="seconds"),
    )


def owner_in(text: str | bytes) -> Owner | None:
    """The owner whose `text` this is; None where it is nobody's."""
    try:
        told = json.loads(text)
        return Owner(**{one.name: told[one.name] for one in fields(Owner)})
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def try_flock(descriptor: int, wait: bool = False) -> bool | None:
    """Locks an open file for this process alone: False where another has it, None where the file system cannot.

    The lock ends when the descriptor is closed or the process ends, however it does. wait: until the other lets go.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_FLOCK:
            return None
        raise
    return True


@contextmanager
def held(descriptor: int) -> Iterator[None]:
    """Closes the descriptor at the end, and at once in processes that are forked meanwhile.

    A loader process that outlives this one for a while would else keep its lock.
    """
    _close_in_children()
    _OPEN.add(descriptor)
    try:
        yield
    finally:
        if descriptor in _OPEN:
            _OPEN.discard(descriptor)
            os.close(descriptor)


# Belongs to the process, as its descriptors do.
_OPEN: set[int] = set()


@cache
def _close_in_children() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_close_all)


def _close_all() -> None:
    while _OPEN:
        os.close(_OPEN.pop())


def _runs(pid: int, started: str) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return not started or _started(pid) == started


def _started(pid: int) -> str:
    """When a process began, in ticks since the machine's start; empty where that is unknown or the process ended."""
    try:
        # The name, which may hold anything, ends with the last bracket. The state comes next, the start 19 later.
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if words[0] in (b"Z", b"X") else words[19].decode()


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _pid_space() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
