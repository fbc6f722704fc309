"""Processes that end with the one that started them, even where it was killed and could tell nobody."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

PARENT = "SHELFMARK_PARENT"
"""The environment variable in which our launcher tells its processes its own process id."""
_PR_SET_PDEATHSIG = 1


def end_with_launcher() -> None:
    """`end_with_parent` for a process that our launcher or torchrun's agent started; others may outlive a shell."""
    parent = os.environ.pop(PARENT, None)
    if parent is not None:
        end_with_parent(int(parent))
    elif "TORCHELASTIC_RUN_ID" in os.environ:
        end_with_parent()


def end_with_parent(parent: int | None = None, poll_s: float = 1.0) -> None:
    """Makes the system kill this process when its parent ends.

    parent: the parent's process id, where it is known from the parent itself: then a parent that ended before this
    call counts too. poll_s: how often to look where the system cannot tell.
    """
    expected = os.getppid() if parent is None else parent
    told = _is_told_by_the_system()
    if os.getppid() != expected:
        _end()
    if not told:
        threading.Thread(target=_watch, args=(expected, poll_s), daemon=True, name="end with parent").start()


def _is_told_by_the_system() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    return ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0


def _watch(parent: int, poll_s: float) -> None:
    while os.getppid() == parent:
        time.sleep(poll_s)
    _end()


def _end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
