"""The pages of `shelfmark --help` and `shelfmark GROUP --help`, and what stands below the options of a command."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

from shelfmark.cli.examples import EXAMPLES
from shelfmark.core.exit_codes import ExitCode

if TYPE_CHECKING:
    from shelfmark.cli.parser import Command

_MAX_WIDTH = 100
_OF_CONFIG = (
    "key=value sets any option of the config, such as optim.lr=0.1. The flags of 2020 (--BASE_LR 0.1) work too."
)


def usage(commands: Mapping[str, Command]) -> str:
    """The page that `shelfmark --help` shows."""
    return _page("COMMAND", commands)


def usage_of_group(group: str, commands: Mapping[str, Command]) -> str:
    """The page that `shelfmark index --help` shows: the commands whose first word is `group`."""
    return _page(f"{group} COMMAND", {name: one for name, one in commands.items() if name.startswith(f"{group} ")})


def group_names(commands: Mapping[str, Command]) -> list[str]:
    """The first words that are no command by themselves, such as index."""
    first = dict.fromkeys(name.partition(" ")[0] for name in commands if " " in name)
    return [name for name in first if name not in commands]


def below_the_options(name: str, takes_config: bool, commands: Mapping[str, Command]) -> str:
    """Examples, and what holds for every command. A line of the examples is never broken: it is to be copied."""
    related = [one for one in commands if one.startswith(f"{name} ")]
    paragraphs = [_OF_CONFIG] if takes_config else []
    if related:
        paragraphs.append(f"See also: {', '.join(f'shelfmark {one}' for one in related)}.")
    examples = "\n".join(["examples:", *(f"  {line}" for line in EXAMPLES.get(name, ()))])
    return "\n\n".join([examples, *map(wrapped, [*paragraphs, exit_statuses()])])


def exit_statuses() -> str:
    """A sentence with every exit status and its meaning."""
    return f"Exit status: {'; '.join(f'{code.value} {code.meaning}' for code in ExitCode)}."


def two_columns(rows: Mapping[str, str]) -> list[str]:
    """Lines of names, with what is said of each behind it, wrapped to the terminal; '' for a name takes no column."""
    width = page_width()
    column = max((len(name) for name in rows), default=0) + 4
    lines: list[str] = []
    for name, text in rows.items():
        first = f"  {name:<{column - 2}}" if name else "  "
        lines += textwrap.wrap(text, width, initial_indent=first, subsequent_indent=" " * len(first)) or [
            first.rstrip()
        ]
    return lines


def page_width() -> int:
    """Columns of a page: those of the terminal, where they are not too many to read."""
    return min(_MAX_WIDTH, shutil.get_terminal_size().columns)


def wrapped(text: str) -> str:
    """One paragraph, broken into lines of the page."""
    return "\n".join(textwrap.wrap(text, page_width()))


def _page(what: str, commands: Mapping[str, Command]) -> str:
    lines = two_columns({name: command.help for name, command in commands.items()})
    first, last = f"usage: shelfmark {what} [options] [key=value ...]", f"shelfmark {what} --help"
    return "\n".join([first, "", *lines, "", wrapped(exit_statuses()), "", last])
