"""An old command line in its parts, and words as a shell takes them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

from shelfmark.config.overrides import Override
from shelfmark.core.errors import UserError


class Line(NamedTuple):
    environment: dict[str, str]
    script: str
    words: list[str]


def line_of(command: str | Sequence[str], known: str) -> Line:
    """The command's parts, without `python3`, a prompt and continued lines. known: the dialects, for an error."""
    if isinstance(command, str):
        try:
            words = shlex.split(re.sub(r"\\\s*\r?\n", " ", command))
        except ValueError as error:
            raise UserError(f"The command line cannot be read: {error}. Put it whole between quotes.") from None
    else:
        words = [word for word in command if word.strip()]
    words = [re.sub(r"^~(?=/|$)", "$HOME", word) for word in words]
    shell = [word for word in words if re.fullmatch(r"[|;&>].*|\d>.*|<(?!.*>$).*", word) or word.endswith(";")]
    if shell:
        raise UserError(f"{shell[0]!r} belongs to the shell; give one command alone, without what it is joined to.")
    environment: dict[str, str] = {}
    waiting = words[1:] if words[:1] == ["$"] else words
    while waiting and re.fullmatch(r"[A-Za-z_]\w*=.*", waiting[0], flags=re.DOTALL):
        name, _, value = waiting[0].partition("=")
        environment[name] = value
        waiting = waiting[1:]
    while waiting and re.fullmatch(r"(.*/)?python[\d.]*|nohup|-u", waiting[0]):
        waiting = waiting[1:]
    if not waiting or not waiting[0].endswith(".py"):
        found = f"{waiting[0]!r} is no Python script" if waiting else "There is no command"
        raise UserError(f"{found}; give the whole old command line, from `python` on. {known}")
    return Line(environment, waiting[0], waiting[1:])


def shell_word(word: str) -> str:
    """The word as a shell takes it. A `$NAME` in it stays one, as it does in the commands of a README."""
    if re.fullmatch(r"[\w@%+=:,./${}-]+", word) and "$" in word:
        return f'"{word}"'
    return shlex.quote(word)


def override_text(override: Override) -> str:
    """`key=value`, from which `parse_override` reads the same value."""
    return f"{override.key}={_shown(override.value)}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_shown(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, bool) or value is None:
        return "null" if value is None else str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value) if isinstance(value, int | float) else value
