"""How the program shows things: what the terminal takes, and numbers as people read them."""

from __future__ import annotations

import os
import sys
from typing import IO, Any

_OF_A_PIPE = 1000
"""Columns where there is no terminal: what reads a pipe wants each row, and each path, on one line."""


def console_settings(stream: IO[str] | None = None) -> dict[str, Any]:
    """Keyword arguments of every rich.console.Console. stream: None for standard output.

    With NO_COLOR set, rich leaves colours out and goes on to write bold; here nothing is written but the text.
    """
    settings: dict[str, Any] = {"highlight": False}
    if os.environ.get("NO_COLOR"):
        settings["color_system"] = None
    if not (stream or sys.stdout).isatty() and not os.environ.get("COLUMNS", "").isdecimal():
        settings["width"] = _OF_A_PIPE
    return settings


def percent(share: float | None) -> str:
    """A score of 0 to 1 as it stands on every screen: 46.4%. n/a for None and NaN."""
    return "n/a" if share is None or share != share else f"{100 * share:.1f}%"


def duration(seconds: float) -> str:
    """A time in the two units that say enough: 18 s, 12 min, 3 h 05 min, 2 d 4 h."""
    seconds = max(0, round(seconds))
    if seconds < 100:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
