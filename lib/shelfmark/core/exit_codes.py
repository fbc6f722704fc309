"""The exit statuses of all commands."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended. Nothing else in the package spells these numbers."""

    DONE = 0
    UNREADABLE = 1
    WRONG_INPUT = 2
    NOT_MET = 3
    STALLED = 70
    PREEMPTED = 75
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """A few words, for the help and for docs/cli.md."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.UNREADABLE: "answered, but some images could not be read (in several processes: 2)",
    ExitCode.WRONG_INPUT: "something in the input is wrong, and one message says what",
    ExitCode.NOT_MET: "a requirement was not met",
    ExitCode.STALLED: "the run hung, and ended itself",
    ExitCode.PREEMPTED: "stopped by SIGTERM, SIGHUP or SIGUSR1, after saving",
    ExitCode.INTERRUPTED: "stopped by Ctrl-C, after saving",
}
