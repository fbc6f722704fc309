"""`shelfmark completion`: a script for the user's shell."""

from __future__ import annotations

import argparse

from shelfmark.cli.outcome import Outcome
from shelfmark.cli.parser import Command, option


def completion(args: argparse.Namespace) -> Outcome:
    from shelfmark.cli.commands import COMMANDS
    from shelfmark.cli.completion import SHELLS, words_of

    script = SHELLS[args.shell](words_of(COMMANDS))
    return Outcome({"shell": args.shell, "script": script}, lambda: print(script))


COMPLETION_COMMANDS = {
    "completion": Command(
        "print a script with which a shell completes commands, options and keys of the config",
        completion,
        [option("shell", "bash, zsh or fish", choices=["bash", "zsh", "fish"], metavar="SHELL")],
        takes_config=False,
    ),
}
