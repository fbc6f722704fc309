"""Command lines: options, `key=value` overrides anywhere, and the 2020 flags."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from shelfmark.cli.outcome import Outcome
from shelfmark.core.errors import UserError, did_you_mean
from shelfmark.core.exit_codes import ExitCode
from shelfmark.core.stopping import LAUNCH
from shelfmark.core.text_safety import printable

_MAX_WIDTH = 100

if TYPE_CHECKING:
    from shelfmark.recipe import Recipe


@dataclass(frozen=True)
class Option:
    """One flag of a command, in argparse's words."""

    flag: str
    help: str
    settings: Mapping[str, Any]


def option(flag: str, help: str, **settings: Any) -> Option:
    """A flag; settings as argparse's add_argument takes them."""
    return Option(flag, help, settings)


JSON = option(
    "--json", "write the result as JSON to standard output, and messages to standard error", action="store_true"
)
"""The flag that every command has; `cli.outcome` obeys it."""


@dataclass(frozen=True)
class Command:
    """takes_config: accepts `key=value` overrides and the 2020 flags.

    recipe: where several processes share the work of the command, what finds the recipe that says on which device; the
    options are then those of `cli.options.DEVICES` too. `train` and `discover` share theirs by themselves.
    """

    help: str
    run: Callable[[argparse.Namespace], Outcome | int]
    options: Sequence[Option] = ()
    takes_config: bool = True
    recipe: Callable[[argparse.Namespace], Recipe] | None = None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}\n{self.format_usage()}try: {self.prog} --help")


def parse(name: str, command: Command, argv: list[str]) -> argparse.Namespace:
    """The command's arguments. With takes_config also `overrides`: a list of config.overrides.Override, in order.

    Raises UserError for what the command does not know, with the nearest flag.
    """
    parser = _build(name, command)
    if not command.takes_config:
        return parser.parse_args(argv)
    # Imported here because --help of the other commands need not wait for it.
    from shelfmark.cli.effects import without_effect
    from shelfmark.cli.flags_2020 import nearest_flag, translate_2020
    from shelfmark.config.overrides import parse_override

    translated, rest, notes = translate_2020(argv)
    known, unknown = parser.parse_known_args(rest)
    overrides = list(translated)
    for word in unknown:
        if word.startswith("-") or "=" not in word:
            hint = nearest_flag(word) or _nearest_option(word, command)
            meant = f" Did you mean {hint}?" if hint else ""
            raise UserError(f"{word!r} is neither an option of `shelfmark {name}` nor key=value.{meant}")
        overrides.append(parse_override(word))
    if _speaks():
        for note in [*notes, without_effect(name, overrides)]:
            if note:
                print(printable(f"note: {note}"), file=sys.stderr)
    known.overrides = overrides
    return known


def _speaks() -> bool:
    """Whether this process says what concerns the line itself: of several, the one that was started first."""
    return LAUNCH not in os.environ and os.environ.get("RANK", "0") == "0"


def usage(commands: Mapping[str, Command]) -> str:
    """The page that `shelfmark --help` shows."""
    lines = two_columns({name: command.help for name, command in commands.items()})
    wrapped = textwrap.wrap(exit_statuses(), _width())
    first, last = "usage: shelfmark COMMAND [options] [key=value ...]", "shelfmark COMMAND --help"
    return "\n".join([first, "", *lines, "", *wrapped, "", last])


def exit_statuses() -> str:
    """A sentence with every exit status and its meaning."""
    return f"Exit status: {'; '.join(f'{code.value} {code.meaning}' for code in ExitCode)}."


def two_columns(rows: Mapping[str, str]) -> list[str]:
    """Lines of names, with what is said of each behind it, wrapped to the terminal; '' for a name takes no column."""
    width = _width()
    column = max((len(name) for name in rows), default=0) + 4
    lines: list[str] = []
    for name, text in rows.items():
        first = f"  {name:<{column - 2}}" if name else "  "
        lines += textwrap.wrap(text, width, initial_indent=first, subsequent_indent=" " * len(first)) or [
            first.rstrip()
        ]
    return lines


def _width() -> int:
    return min(_MAX_WIDTH, shutil.get_terminal_size().columns)


def _build(name: str, command: Command) -> argparse.ArgumentParser:
    of_config = (
        "key=value sets any option of the config, such as optim.lr=0.1. The flags of 2020 (--BASE_LR 0.1) work too. "
    )
    parser = _Parser(
        prog=f"shelfmark {name}",
        description=command.help,
        epilog=f"{of_config if command.takes_config else ''}{exit_statuses()}",
        allow_abbrev=False,
    )
    for flag in (*command.options, JSON):
        parser.add_argument(flag.flag, help=_with_default(flag), **flag.settings)
    return parser


def _with_default(flag: Option) -> str:
    """The help with the default behind it, where there is one that does something and the help does not name it."""
    default = flag.settings.get("default")
    return f"{flag.help} (default: {default})" if default and "(default: " not in flag.help else flag.help


def _nearest_option(word: str, command: Command) -> str | None:
    return did_you_mean(word.split("=")[0], [flag.flag for flag in (*command.options, JSON)])
