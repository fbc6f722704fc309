"""The commands. Heavy imports stand inside functions, so that `--help` answers at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from shelfmark import __version__
from shelfmark.cli.commands import COMMANDS
from shelfmark.cli.help_pages import group_names, usage, usage_of_group
from shelfmark.cli.outcome import told
from shelfmark.cli.parser import parse
from shelfmark.cli.processes import require_one_process, run
from shelfmark.core.allocator import keep_freed_memory
from shelfmark.core.errors import UserError, did_you_mean
from shelfmark.core.exit_codes import ExitCode
from shelfmark.core.stopping import Stopped
from shelfmark.core.text_safety import printable
from shelfmark.core.write_errors import system_error_told

# OpenMP's threads wait for each other by spinning, 300,000 times over; where the cores are shared with loader
# processes or other programs, that made training five times slower. It is read when torch is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

_HELP = ("-h", "--help")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status, one of `ExitCode`."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] not in (["serve"], ["report"]):  # one decides by what it serves, the other is made beside other work
        keep_freed_memory()
    try:
        return _with_system_errors_told(words)
    except UserError as error:
        if not error.is_told and _is_first_to_say(str(error)):
            print(printable(f"error: {error}"), file=sys.stderr)
        return ExitCode.WRONG_INPUT
    except Stopped as stopped:
        if os.environ.get("RANK", "0") == "0":
            print(printable(str(stopped)), file=sys.stderr)
        return stopped.exit_status
    except BrokenPipeError:
        # `shelfmark config --schema | head`: the reader has seen enough.
        _discard_output()
        return ExitCode.DONE
    except KeyboardInterrupt as interrupt:
        print(printable("; ".join(["interrupted", *map(str, interrupt.args)])), file=sys.stderr)
        return ExitCode.INTERRUPTED


def _is_first_to_say(text: str) -> bool:
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return True
    from shelfmark.core.dist import is_first_to_say

    return is_first_to_say(text)


def _with_system_errors_told(words: list[str]) -> int:
    """A path that the system refuses is the user's to change, whichever command meets it."""
    try:
        status = _run(words)
    except OSError as error:
        told = system_error_told(error)
        if told is None:
            raise
        raise told from None
    _flush_output()
    return status


def _flush_output() -> None:
    """Writes what is left of standard output: at the interpreter's end nobody would catch the error of a full disk."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_output()
        raise UserError(f"standard output cannot be written: {error.strerror}. Send it to another file.") from None


def _discard_output() -> None:
    """What is still to be written to standard output goes nowhere: the interpreter would fail on it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(words: list[str]) -> int:
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    if not words or words[0] in _HELP:
        print(usage(COMMANDS))
        return ExitCode.DONE
    if words[0] in group_names(COMMANDS) and words[1:2] and words[1] in _HELP:
        print(usage_of_group(words[0], COMMANDS))
        return ExitCode.DONE
    if words[0] in ("-V", "--version"):
        print(f"shelfmark {__version__}")
        return ExitCode.DONE
    # Some names are of two words, as `index build`.
    length = 2 if " ".join(words[:2]) in COMMANDS else 1
    name, argv = " ".join(words[:length]), words[length:]
    command = COMMANDS.get(name)
    if command is None:
        if parts := [one.partition(" ")[2] for one in COMMANDS if one.startswith(f"{name} ")]:
            raise UserError(f"`shelfmark {name}` wants one of: {', '.join(parts)}. try: shelfmark {name} --help")
        hint = did_you_mean(name, COMMANDS)
        meant = f" Did you mean {hint!r}?" if hint else ""
        raise UserError(f"{name!r} is not a command; there are: {', '.join(COMMANDS)}.{meant}")
    require_one_process(name, command)
    args = parse(name, command, argv)
    return told(lambda: run(command, args), args.json)
