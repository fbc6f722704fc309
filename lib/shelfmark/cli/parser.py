"""Command lines: options, `key=value` overrides anywhere, and the 2020 flags."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from shelfmark.cli.help_pages import below_the_options, page_width, wrapped
from shelfmark.cli.outcome import Outcome
from shelfmark.core.errors import UserError
from shelfmark.core.stopping import LAUNCH
from shelfmark.core.text_safety import printable

if TYPE_CHECKING:
    from shelfmark.recipe import Recipe


@dataclass(frozen=True)
class Option:
    """One flag of a command, in argparse's words."""

    flag: str
    help: str
    settings: Mapping[str, Any]
    is_needed: bool = False

    @property
    def is_required(self) -> bool:
        return self.is_needed or bool(self.settings.get("required"))


def option(flag: str, help: str, is_needed: bool = False, **settings: Any) -> Option:
    """A flag; settings as argparse's add_argument takes them. is_needed: shown as required; the command asks for it."""
    return Option(flag, help, settings, is_needed)


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
    """needed: options that every call needs, some of which the command itself asks for, in words that teach."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.needed: list[argparse.Action] = []

    def format_help(self) -> str:
        for action in self.needed:
            action.required = True
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}\n{self.format_usage()}try: {self.prog} --help")


def parse(name: str, command: Command, argv: list[str]) -> argparse.Namespace:
    """The command's arguments. With takes_config also `overrides`: a list of config.overrides.Override, in order.

    Raises UserError for what the command does not know, with the nearest flag.
    """
    parser = _build(name, command)
    if not command.takes_config:
        known, unknown = parser.parse_known_args(argv)
        if unknown:
            own = [flag.flag for flag in (*command.options, JSON)]
            meant = _one_value(unknown[0], argv, command) or _meant(unknown, own)
            raise UserError(f"{unknown[0]!r} is not an option of `shelfmark {name}`.{meant}")
        return known
    # Imported here because --help of the other commands need not wait for it.
    from shelfmark.cli.effects import without_effect
    from shelfmark.cli.flags_2020 import flags_2020, translate_2020
    from shelfmark.config.overrides import parse_override

    translated, rest, notes = translate_2020(argv)
    known, unknown = parser.parse_known_args(rest)
    overrides = list(translated)
    for place, word in enumerate(unknown):
        if word.startswith("-") or "=" not in word:
            known_flags = [*(flag.flag for flag in (*command.options, JSON)), *flags_2020()]
            meant = _one_value(word, argv, command) or _meant(unknown[place:], known_flags)
            raise UserError(f"{word!r} is neither an option of `shelfmark {name}` nor key=value.{meant}")
        overrides.append(parse_override(word))
    if _speaks():
        for note in [*notes, without_effect(name, overrides)]:
            if note:
                print(printable(f"note: {note}"), file=sys.stderr)
    known.overrides = overrides
    return known


def _one_value(word: str, argv: Sequence[str], command: Command) -> str:
    """Of a word behind the value of an option: that the option takes one value. '' of any other word."""
    place = argv.index(word) if word in argv and not word.startswith("-") else 0
    behind = next((i for i in range(place - 1, -1, -1) if argv[i].startswith("--")), None)
    if behind is None:
        return ""
    name, equals, value = argv[behind].partition("=")
    value = value if equals else argv[behind + 1]
    for flag in command.options:
        if flag.flag == name and not {"nargs", "action"} & {*flag.settings} and value != word:
            kind = flag.settings.get("metavar", "value")
            return f" {name} takes one {kind}, which is {value!r} here: run the command once for each."
    return ""


def _meant(unknown: Sequence[str], flags: Sequence[str]) -> str:
    from shelfmark.cli.flag_hints import hint
    from shelfmark.config.overrides import parse_override
    from shelfmark.config.yaml_lines import blank_missing

    if os.path.isfile(unknown[0]):
        return f" The file of this name is written ./{unknown[0]}."
    if blank_missing(unknown[0]):
        parse_override(unknown[0])
    found = hint(unknown[0], unknown[1] if len(unknown) > 1 else "", flags)
    return f" Did you mean {found}?" if found else ""


def _speaks() -> bool:
    """Whether this process says what concerns the line itself: of several, the one that was started first."""
    return LAUNCH not in os.environ and os.environ.get("RANK", "0") == "0"


def _build(name: str, command: Command) -> argparse.ArgumentParser:
    from shelfmark.cli.commands import COMMANDS

    parser = _Parser(
        prog=f"shelfmark {name}",
        description=wrapped(command.help),
        epilog=below_the_options(name, command.takes_config, COMMANDS),
        allow_abbrev=False,
        formatter_class=_Formatter,
        add_help=False,
    )
    required, others = parser.add_argument_group("required options"), parser.add_argument_group("options")
    others.add_argument("-h", "--help", action="help", help="show this page")
    for flag in (*command.options, JSON):
        group = (required if flag.is_required else others) if flag.flag.startswith("-") else parser
        action = group.add_argument(flag.flag, help=_with_default(flag), **flag.settings)
        if flag.is_required:
            parser.needed.append(action)
    return parser


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """As argparse's, with description and epilog as they are."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=page_width() - 2)


def _with_default(flag: Option) -> str:
    """The help with the default behind it, where the option has a value that does something and the help names none."""
    default = flag.settings.get("default")
    has_default = default not in (None, "", []) and "(default: " not in flag.help
    return f"{flag.help} (default: {default})".replace("%", "%%") if has_default else flag.help
