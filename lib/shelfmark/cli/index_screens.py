"""What the commands of an index show."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shelfmark.core.terminal import console_settings, percent
from shelfmark.core.text_safety import printable

if TYPE_CHECKING:
    from shelfmark.pipelines.recognise import Recognition
    from shelfmark.pipelines.search import Answer


def searched(answers: Sequence[Answer]) -> None:
    """For each photograph its products; where no gallery image has a label, the images themselves."""
    for answer in answers:
        if answer.candidates:
            rows = [
                (_product(one.label, one.name), percent(one.score), str(one.num_neighbours), _near(one.path))
                for one in answer.candidates
            ]
            _show(answer.photo, ("product", "score", "images", "nearest gallery image"), rows, answer.error)
        else:
            images = [(one.id, percent(one.score), _near(one.path)) for one in answer.neighbours]
            _show(answer.photo, ("gallery image", "score", "path"), images, answer.error)


def recognised(answers: Sequence[Recognition]) -> None:
    """For each photograph its products, with both parts of the probability."""
    columns = ("product", "probability", "classifier", "neighbours", "nearest gallery image")
    for answer in answers:
        rows = [
            (
                _product(one.label, one.name),
                *(percent(value) for value in (one.probability, one.classifier, one.neighbours)),
                _near(one.path),
            )
            for one in answer.products
        ]
        _show(answer.photo, columns, rows, answer.error, _answered(answer))


def _answered(answer: Recognition) -> str:
    """The answer of the rules in a line; empty without thresholds."""
    found, promise = answer.decision, answer.promise
    if found is None or promise is None:
        return ""
    named = ", ".join(_product(label, answer.names.get(label, "")) for label in found.members)
    if found.kind == "unknown":
        return f"unknown ({found.reason})"
    family = f" {found.group}:" if found.kind == "family" else ":"
    told = promise.as_json()
    sure = f"at most {100 * told['max_wrong']:g}% of the answers are wrong, at {100 * told['confidence']:g}% confidence"
    first = printable(f"{found.kind}{family} {named}", one_line=True)
    return f"{first}\n  by {found.rule.partition(': ')[2]}; {sure}"


def described(facts: Mapping[str, Any]) -> None:
    """One line a fact, whole: hashes and paths are to be copied."""
    facts = {name: value for name, value in facts.items() if name != "options"} | {
        name: str(value) for name, value in facts.get("options", {}).items()
    }
    width = max(map(len, facts))
    for name, value in facts.items():
        for line in value if isinstance(value, list) else [value]:
            is_count = isinstance(line, int) and not isinstance(line, bool)
            print(f"{name:<{width}}  {f'{line:,}' if is_count else printable(str(line), one_line=True)}")


def _show(
    photo: str, columns: Sequence[str], rows: Sequence[Sequence[str]], error: str | None, answer: str = ""
) -> None:
    console = Console(**console_settings())
    console.print()
    photo = printable(photo, one_line=True)
    if error is not None:
        console.print(Text(f"{photo}: could not be read: {error}"), soft_wrap=True)
        return
    console.print(Text(photo, style="bold"), soft_wrap=True)
    for line in answer.splitlines():
        console.print(Text(printable(line, one_line=True)), soft_wrap=True)
    console.print()
    table = Table(box=SIMPLE_HEAD)
    table.show_edge = False
    for column in columns:
        is_number = column in ("score", "images", "probability", "classifier", "neighbours")
        # A path that is cut cannot be opened: it goes on in the next line.
        table.add_column(column, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell, one_line=True)) for cell in row))
    console.print(table)


def _product(label: int, name: str) -> str:
    return f"{name} ({label})" if name else str(label)


def _near(path: str) -> str:
    """The path from the working folder on, where it lies below it."""
    here = os.path.join(os.getcwd(), "")
    return path.removeprefix(here)
