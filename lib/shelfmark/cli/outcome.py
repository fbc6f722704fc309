"""What a command found, shown to a person or written as JSON. Every command has `--json`, and it works here alone."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

from shelfmark.core.exit_codes import ExitCode


@dataclass(frozen=True)
class Outcome:
    """value: for `--json`; numpy values, paths and tuples may stand in it. show: prints the same for a person."""

    value: Any
    show: Callable[[], None] = lambda: None
    status: ExitCode = ExitCode.DONE


def told(run: Callable[[], Outcome | int], is_json: bool) -> int:
    """Runs a command, shows what it found, and returns the exit status. The first of several processes shows it.

    is_json: standard output gets one JSON document and nothing else; what is said on the way goes to standard error.
    A command that gives a number has shown its result in other processes.
    """
    is_main = os.environ.get("RANK", "0") == "0"
    output = sys.stdout
    with redirect_stdout(sys.stderr if is_json else output):
        outcome = run()
        if isinstance(outcome, int):
            return outcome
        if is_main and not is_json:
            outcome.show()
    if is_main and is_json:
        output.write(as_json(outcome.value))
    if outcome.status == ExitCode.UNREADABLE and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return ExitCode.WRONG_INPUT if is_main else ExitCode.DONE
    return outcome.status


def as_json(value: Any) -> str:
    """One document of ASCII, which any terminal can show: NaN and infinity are null."""
    # Numpy and with it everything heavy is imported here, because a mistake on the command line must not wait for it.
    from shelfmark.core.files import plain

    return json.dumps(plain(value), indent=2, allow_nan=False) + "\n"
