"""The flags of an original as a table, and what a command line of them means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from shelfmark.config.overrides import Override
from shelfmark.core.errors import UserError, did_you_mean
from shelfmark.migrate.values import Reading, Values


@dataclass(frozen=True)
class OldFlag:
    """One flag or key of an original. Its functions get the text of its value, and the values of all flags.

    sets: the options of the recipe that it sets. default: that of the original, where it decides anything.
    options: words of our command line that stand for it. note: what to tell a user who typed it; '' is nothing.
    """

    sets: Callable[[str, Values], Reading] | None = None
    default: str | None = None
    options: Callable[[str, Values], list[str]] | None = None
    note: str | Callable[[str, Values], str] = ""
    takes: Literal["one", "switch", "many", "one or none"] = "one"


Table = Mapping[str, OldFlag]


class TypedFlags(NamedTuple):
    """values: of each flag. shown: each flag as it was typed, with its value. rest: words that belong to no flag."""

    values: dict[str, str]
    shown: dict[str, str]
    rest: list[str]


@dataclass(frozen=True)
class Meaning:
    """What flags come to. values: of all flags, typed or not. typed: of those that were typed. notes: for the user."""

    values: Values
    typed: Values
    overrides: list[Override]
    options: list[str]
    notes: list[str]


def meaning_of(words: Sequence[str], table: Table) -> Meaning:
    """The meaning of a command line that has flags alone. Raises UserError for a word that belongs to no flag."""
    typed = typed_flags(words, table)
    if typed.rest:
        raise UserError(f"{typed.rest[0]!r} belongs to no flag of the original; its flags begin with --.")
    return meaning_of_values(table, {**defaults(table), **typed.values}, typed.values, typed.shown)


def typed_flags(words: Sequence[str], table: Table) -> TypedFlags:
    """Flags as argparse reads them: `--flag value`, `--flag=value`, any beginning of a name that fits one alone."""
    values: dict[str, str] = {}
    shown: dict[str, str] = {}
    rest: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("--"):
            rest.append(word)
            continue
        typed, equals, value = word[2:].partition("=")
        name = _whole_name(typed, table)
        takes = table[name].takes
        if equals and takes == "switch":
            raise UserError(f"--{name} is a switch: it takes no value, not even {value!r}.")
        wanted = 0 if equals or takes == "switch" else len(waiting) if takes == "many" else 1
        found = [value] if equals else []
        while waiting and not waiting[0].startswith("--") and len(found) < wanted:
            found.append(waiting.pop(0))
        if wanted and not found and takes != "one or none":
            raise UserError(f"--{name} needs a value.")
        values[name] = " ".join(found)
        shown[name] = word if equals else " ".join([f"--{typed}", *found])
    return TypedFlags(values, shown, rest)


def defaults(table: Table) -> dict[str, str]:
    return {name: old.default for name, old in table.items() if old.default is not None}


def meaning_of_values(table: Table, values: Values, typed: Values, shown: Values, prefix: str = "--") -> Meaning:
    """In the order of the table; where two flags set one option, the later flag rules."""
    overrides: dict[str, Override] = {}
    options: list[str] = []
    notes: list[str] = []
    for name, old in table.items():
        if name not in values:
            continue
        text = values[name]
        origin = shown.get(name, f"{prefix}{name} {text}, the default of the original")
        try:
            for key, value in old.sets(text, values) if old.sets else []:
                overrides.pop(key, None)
                overrides[key] = Override(key, value, origin)
            options += old.options(text, values) if old.options else []
            note = old.note if isinstance(old.note, str) else old.note(text, values)
        except ValueError as error:
            raise UserError(f"{origin if len(origin) <= 80 else f'{origin[:77]}...'}: {error}") from None
        if note and name in shown:
            notes.append(f"{origin}: {note}")
    return Meaning(values, typed, list(overrides.values()), options, notes)


def _whole_name(typed: str, table: Table) -> str:
    fitting = [typed] if typed in table else [name for name in table if name.startswith(typed)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UserError(f"--{typed} could be {' or '.join(f'--{name}' for name in fitting)}; write the whole name.")
    hint = did_you_mean(typed, table)
    meant = f" Did you mean --{hint}?" if hint else f" Its flags are: {', '.join(f'--{name}' for name in table)}."
    raise UserError(f"--{typed} is not a flag of the original.{meant}")
