"""The flags of an original, one table: name -> the overrides that it means, or why it means none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from shelfmark.config.load import Override
from shelfmark.core.errors import UserError, nearest
from shelfmark.migrate.values import Given, Reading


@dataclass(frozen=True)
class Old:
    """One flag or key of an original. Its functions get its value's text and all other values.

    sets: our options. options: words of our command line besides. default: the original's, where it decides anything.
    inert: why it changed nothing there. lacks: why there is nothing like it here, and what to do. says: what else to
    know with this value, or ''.
    """

    sets: Callable[[str, Given], Reading] | None = None
    default: str | None = None
    options: Callable[[str, Given], list[str]] | None = None
    inert: str = ""
    lacks: str = ""
    says: Callable[[str, Given], str] | None = None
    takes: Literal["one", "switch", "many", "one or none"] = "one"


class Typed(NamedTuple):
    """values: of each flag. shown: the flag as it was typed, with its value. rest: words that belong to no flag."""

    values: dict[str, str]
    shown: dict[str, str]
    rest: list[str]


def typed_flags(words: Sequence[str], table: Mapping[str, Old]) -> Typed:
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
        found = [value] if equals else []
        if table[name].takes == "switch":
            if equals:
                raise UserError(f"--{name} is a switch: it takes no value, not even {value!r}.")
        else:
            wanted = len(waiting) if table[name].takes == "many" else 1
            while waiting and not waiting[0].startswith("--") and len(found) < wanted and not equals:
                found.append(waiting.pop(0))
            if not found and table[name].takes != "one or none":
                raise UserError(f"--{name} needs a value.")
        values[name] = " ".join(found)
        shown[name] = " ".join([word if equals else f"--{typed}", *([] if equals else found)])
    return Typed(values, shown, rest)


def require_no_rest(typed: Typed) -> None:
    if typed.rest:
        raise UserError(f"{typed.rest[0]!r} stands behind no flag of the original; its flags begin with --.")


def defaults(table: Mapping[str, Old]) -> dict[str, str]:
    return {name: old.default for name, old in table.items() if old.default is not None}


def apply(
    table: Mapping[str, Old], given: Given, shown: Given, prefix: str = "--"
) -> tuple[list[Override], list[str], list[str]]:
    """Overrides, options and notes, in the table's order; of two values for one key the later holds."""
    overrides: dict[str, Override] = {}
    options: list[str] = []
    notes: list[str] = []
    for name, old in table.items():
        if name not in given:
            continue
        text = given[name]
        origin = shown.get(name, f"{prefix}{name} {text}, the original's default")
        try:
            for key, value in old.sets(text, given) if old.sets else []:
                overrides.pop(key, None)
                overrides[key] = Override(key, value, origin)
            options += old.options(text, given) if old.options else []
        except ValueError as error:
            raise UserError(f"{origin}: {error}") from None
        said = old.says(text, given) if old.says and name in shown else ""
        inert = f"without effect in the original: {old.inert}" if old.inert else ""
        lacks = f"without counterpart here: {old.lacks}" if old.lacks else ""
        notes += [f"{origin}: {note}" for note in (inert, lacks, said) if note and name in shown]
    return list(overrides.values()), options, notes


def _whole_name(typed: str, table: Mapping[str, Old]) -> str:
    fitting = [typed] if typed in table else [name for name in table if name.startswith(typed)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UserError(f"--{typed} could be {' or '.join(f'--{name}' for name in fitting)}; write it out.")
    hint = nearest(typed, table)
    meant = f" Did you mean --{hint}?" if hint else f" There are: {', '.join(f'--{name}' for name in table)}."
    raise UserError(f"--{typed} is not a flag of the original.{meant}")
