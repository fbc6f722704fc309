"""The commands. Heavy imports stand inside functions, so that `--help` answers at once."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from shelfmark import __version__
from shelfmark.cli.commands import COMMANDS
from shelfmark.cli.parser import parse, usage
from shelfmark.cli.processes import require_one_process, run
from shelfmark.core.allocator import keep_freed_memory
from shelfmark.core.errors import UserError, did_you_mean
from shelfmark.core.stopping import Stopped
from shelfmark.core.text_safety import printable

# OpenMP's threads wait for each other by spinning, 300,000 times over; where the cores are shared with loader
# processes or other programs, that made training five times slower. It is read when torch is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# A path that the system refuses is the user's to change, whichever command meets it. Others are our own mistakes.
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status. 2 means that the input was wrong and was explained."""
    keep_freed_memory()
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage(COMMANDS))
        return 0
    if words[0] in ("-V", "--version"):
        print(f"shelfmark {__version__}")
        return 0
    try:
        return _with_system_errors_told(words)
    except UserError as error:
        if not error.is_told:
            print(printable(f"error: {error}"), file=sys.stderr)
        return 2
    except Stopped as stopped:
        if os.environ.get("RANK", "0") == "0":
            print(printable(str(stopped)), file=sys.stderr)
        return stopped.exit_status
    except BrokenPipeError:
        # `shelfmark config --schema | head`: the reader has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted; `--RESUME_MODEL log/<run>/last` goes on from the last checkpoint", file=sys.stderr)
        return 130


def _with_system_errors_told(words: list[str]) -> int:
    try:
        return _run(words)
    except OSError as error:
        if error.errno not in _REFUSED or error.filename is None:
            raise
        raise UserError(f"{error.filename} cannot be used: {error.strerror}.") from None


def _run(words: list[str]) -> int:
    # Some names are of two words, as `index build`.
    length = 2 if " ".join(words[:2]) in COMMANDS else 1
    name, argv = " ".join(words[:length]), words[length:]
    command = COMMANDS.get(name)
    if command is None:
        if parts := [one.partition(" ")[2] for one in COMMANDS if one.startswith(f"{name} ")]:
            raise UserError(f"`shelfmark {name}` wants one of: {', '.join(parts)}.")
        hint = did_you_mean(name, COMMANDS)
        meant = f" Did you mean {hint!r}?" if hint else ""
        raise UserError(f"{name!r} is not a command; there are: {', '.join(COMMANDS)}.{meant}")
    require_one_process(name, command)
    return run(command, parse(name, command, argv))
