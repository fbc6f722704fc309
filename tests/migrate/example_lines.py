"""Tables of examples: what each flag of a dialect comes to, a line each.

    --flag value; --other -> key=value -gone => words of ours | part of the note

Behind `->` stand the options that the flag changes, with `-` those that it takes away; behind `=>` all words of our
command line, where the flag changes them. Several flags may come to the same.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from shelfmark.config.load import load
from shelfmark.config.overrides import parse_override
from shelfmark.core.errors import UserError
from shelfmark.migrate import notes
from shelfmark.migrate.dialects import translate
from shelfmark.migrate.flow import require_options
from shelfmark.recipe import Recipe

CONFIGS = Path(__file__).parents[2] / "configs"


class Example(NamedTuple):
    """typed: the flag with its value. note: a part of it, '' for no note. options: None leaves them as they are."""

    typed: str
    changed: dict[str, Any]
    gone: set[str]
    options: list[str] | None
    note: str


def examples_of(text: str) -> dict[str, Example]:
    """By the names of their flags, without the dashes."""
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        left, _, note = line.partition(" | ")
        left, arrow, options = left.partition(" => ")
        typed, _, changes = left.partition(" -> ")
        words = shlex.split(changes)
        changed = [parse_override(word) for word in words if not word.startswith("-")]
        gone = {word[1:] for word in words if word.startswith("-")}
        for one in typed.split("; "):
            name = one.split()[0].removeprefix("--")
            assert name not in found, f"{name} has two examples"
            found[name] = Example(
                one,
                {override.key: override.value for override in changed},
                gone,
                options.split() if arrow else None,
                getattr(notes, note, note),
            )
    return found


def meaning(command: str | list[str]) -> dict[str, Any]:
    return {one.key: one.value for one in translate(command).overrides}


def resolved(command: str) -> Recipe:
    found = translate(command)
    return load(Recipe, CONFIGS / f"{found.recipe}.yaml", found.overrides).config


def recipe(name: str) -> Recipe:
    return load(Recipe, CONFIGS / f"{name}.yaml").config


def check_examples(line: str, table: Mapping[str, object], examples: Mapping[str, Example]) -> None:
    """Every flag of the table has an example, and means behind `line` what the example says; tells all that do not."""
    plain = translate(line)
    before = {one.key: one.value for one in plain.overrides}
    wrong = [f"{name}: in the examples or in the table alone" for name in examples.keys() ^ table.keys()]
    for name, example in examples.items():
        found = translate(f"{line} {example.typed}")
        after = {one.key: one.value for one in found.overrides}
        require_options(after)
        changed = {key: value for key, value in after.items() if key in example.changed or before.get(key, "") != value}
        note = "".join(one for one in found.notes if re.match(rf"(--)?{name}\b", one))
        for what, have, want in (
            ("changes", changed, example.changed),
            ("takes away", before.keys() - after.keys(), example.gone),
            ("becomes the words", found.options, plain.options if example.options is None else example.options),
        ):
            if have != want:
                wrong.append(f"{example.typed} {what} {have}, not {want}")
        if bool(note) != bool(example.note) or example.note not in note:
            wrong.append(f"{example.typed} has the note {note!r}, without {example.note!r}")
        if changed:
            load(Recipe, CONFIGS / f"{found.recipe}.yaml", found.overrides)
    assert not wrong, "\n".join(wrong)


def choices_refused(line: str, table: Mapping[str, object], prefix: str = "--") -> tuple[int, list[str]]:
    """How many choices the flags of a table have by their own errors, and those that our recipe does not take."""
    refused = []
    count = 0
    for name in table:
        try:
            translate(f"{line} {prefix}{name} nonsense")
        except UserError as error:
            listed = re.search(r" is not one of: (.*?)\.( Did|$)", str(error))
            choices = listed[1].split(", ") if listed else ["True", "False"] if "neither True" in str(error) else []
            count += len(choices)
            for choice in choices:
                try:
                    resolved(f"{line} {prefix}{name} {choice}")
                except UserError as problem:
                    refused.append(f"{prefix}{name} {choice}: {problem}")
    return count, refused
