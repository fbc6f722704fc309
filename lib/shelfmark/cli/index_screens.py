"""What the commands of an index show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shelfmark.cli.screens import near
from shelfmark.core.terminal import console_settings, percent
from shelfmark.core.text_safety import printable

if TYPE_CHECKING:
    from shelfmark.pipelines.index_life import Verification
    from shelfmark.pipelines.recognise import Recognition
    from shelfmark.pipelines.search import Answer

_MB = 10**6


def searched(answers: Sequence[Answer]) -> None:
    """For each photograph its products; where no gallery image has a label, the images themselves."""
    for answer in answers:
        if answer.candidates:
            rows = [
                (_product(one.label, one.name), percent(one.score), str(one.num_neighbours), near(one.path))
                for one in answer.candidates
            ]
            _show(answer.photo, ("product", "score", "images", "nearest gallery image"), rows, answer.error)
        else:
            images = [(one.id, percent(one.score), near(one.path)) for one in answer.neighbours]
            _show(answer.photo, ("gallery image", "score", "path"), images, answer.error)


def recognised(answers: Sequence[Recognition]) -> None:
    """For each photograph its products, with both parts of the probability."""
    columns = ("product", "probability", "classifier", "neighbours", "nearest gallery image")
    for answer in answers:
        rows = [
            (
                _product(one.label, one.name),
                *(percent(value) for value in (one.probability, one.classifier, one.neighbours)),
                near(one.path),
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
    shown = printable(f"{found.kind}{family} {named}", one_line=True)
    return f"{shown}\n  by {found.rule.partition(': ')[2]}; {sure}"


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


def verified(found: Verification) -> None:
    """What was checked, a line each; then what is wrong, and the commands that mend it."""
    ids = found.ids
    rows = {
        "kind": f"{found.kind}, {found.metric}",
        "images": f"{found.num_images:,}, of which {found.num_later:,} came after the build",
        "ids": "those of the table" if ids.is_right else "not those of the table",
    }
    if found.recall is None:
        rows["recall@10"] = "not measured, because the ids differ"
    else:
        for name, one in found.recall.each.items():
            interval = f"{percent(one.lower)} to {percent(min(1, one.upper))}"
            rows[f"recall@10, {name}"] = (
                f"{percent(one.value)} ({interval}) of {found.against}, {one.num_queries:,} queries"
            )
        rows["recall@10, promised"] = percent(found.promised)
    on_disk, in_memory, removed = (size / _MB for size in (found.size_bytes, found.memory_bytes, found.removed_bytes))
    rows["size"] = f"{on_disk:,.1f} MB on disk, about {in_memory:,.1f} MB in memory"
    if removed:
        rows["size"] += f", of which removed images take {removed:,.1f} MB"
    width = max(map(len, rows))
    for name, text in rows.items():
        print(f"{name:<{width}}  {text}")
    for problem in found.problems:
        print(printable(f"wrong: {problem}", one_line=True))
    for advice in found.advice:
        print(printable(f"to do: {advice.why}", one_line=True))
        if advice.command:
            print(f"  {printable(advice.command, one_line=True)}")
    if not found.problems:
        print("the index holds what it lists, and finds what is promised")


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
