"""The program's messages to its user: one line at a time, from the main process only."""

from __future__ import annotations

import logging
import sys

from shelfmark.core import dist
from shelfmark.core.text_safety import printable

_logger = logging.getLogger("shelfmark")


def say(message: str) -> None:
    """An ordinary line, on standard output."""
    if dist.is_main():
        _ready().info(printable(message))


def warn(message: str) -> None:
    """Something the user should know before trusting the result."""
    if dist.is_main():
        _ready().warning(printable(f"warning: {message}"))


def remark(message: str) -> None:
    """A line about the command itself, on standard error: what is printed can be piped without it."""
    if dist.is_main():
        print(printable(f"note: {message}"), file=sys.stderr, flush=True)


def _ready() -> logging.Logger:
    # A program that embeds Shelfmark and set up its own handlers keeps them.
    if not _logger.handlers and not logging.getLogger().handlers:
        handler = _StdoutHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        _logger.addHandler(handler)
    _logger.setLevel(logging.INFO)
    return _logger


class _StdoutHandler(logging.StreamHandler):
    """Looks `sys.stdout` up at each line, so that a progress display or a test that replaces it is honoured."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)
