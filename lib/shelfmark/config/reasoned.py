"""A short configuration to be read and edited: only what was chosen, and above each value the reason for it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any, NamedTuple

from shelfmark.config.files import BASE
from shelfmark.config.write import entry_lines, inline

_WIDTH = 100


class Reasoned(NamedTuple):
    """A dotted option, its value in JSON's types, and why it has this value; '' for no comment."""

    option: str
    value: Any
    why: str = ""


def reasoned_yaml(header: str, values: Iterable[Reasoned], base: str = "") -> str:
    """YAML with `header` as comment, options nested and in the order of `values`, groups together.

    base: a file that the configuration builds on, relative to the one that is written.
    """
    tree: dict[str, Any] = {}
    for one in values:
        *groups, leaf = one.option.split(".")
        place = tree
        for group in groups:
            place = place.setdefault(group, {})
        place[leaf] = one
    lines = _comment(header, "")
    if base:
        lines += ["", f"{BASE}: {inline(base)}"]
    for name, value in tree.items():
        lines += ["", *_lines(name, value, "")]
    return "\n".join(lines) + "\n"


def _lines(name: str, value: Any, indent: str) -> list[str]:
    if isinstance(value, Reasoned):
        told = _comment(value.why, indent) if value.why else []
        return [*told, *entry_lines(name, value.value, indent)]
    lines = [f"{indent}{inline(name)}:"]
    for inner, item in value.items():
        lines += _lines(inner, item, f"{indent}  ")
    return lines


def _comment(text: str, indent: str) -> list[str]:
    lines: list[str] = []
    for paragraph in text.splitlines():
        lines += textwrap.wrap(
            paragraph,
            _WIDTH,
            initial_indent=f"{indent}# ",
            subsequent_indent=f"{indent}# ",
            break_long_words=False,
            break_on_hyphens=False,
        ) or [f"{indent}#"]
    return lines
