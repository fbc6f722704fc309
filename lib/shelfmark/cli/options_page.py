"""docs/options.md, made from the options themselves: `python -m shelfmark.cli.options_page FILE`, or `make options`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from shelfmark.cli.option_screens import NO_DEFAULT, default_of, value_of
from shelfmark.config.options import Place, all_groups, kind_of
from shelfmark.config.shape import Shape
from shelfmark.core.files import write_text
from shelfmark.engine.resume import rules_table
from shelfmark.recipe import Recipe

Row = tuple[str, str, str, str]
_HEAD = """\
# Options

Every option of a run, by its dotted key. `make options` writes this page from the options themselves, and
`shelfmark config --describe KEY` prints one of them. [config.md](config.md) says how options are set.

In a key, `0` is any entry of a list: `train.stages.1.lr` is the rate of the second stage. NAME is a name of your
choice. A loss has its name here in place of a number: `losses.smooth_ap.temperature` is `losses.0.temperature` on a
command line, where it is the first loss, and `{name: smooth_ap, temperature: ...}` in a file.
"""
_NOTES = {
    "losses": "[losses.md](losses.md) explains each loss. In the formulas, z are the logits of a row, y is its label, p"
    " the softmax of z, and n_c the number of training images of class c. A query is compared with its positives P"
    " (rows of its class) and its negatives N (rows of other classes): s is a similarity, d a distance, x a vector.",
}
"""What a section says above its tables."""
_RESUME = """\
## On resume

`--RESUME_MODEL log/NAME/last` takes the options of the checkpoint, and over them those of the command line. Each option
that differs follows a rule. `free`: it holds from the checkpoint on. `follows`: the checkpoint's value stays, and the
screen says so. `refused`: the command ends before anything is written. The rule with the longest name that fits an
option counts: `data` is for all of `data` but `data.num_classes`.
"""


def options_page() -> str:
    """The page as Markdown."""
    top = Place("", Shape.of(Recipe))
    seen: set[str] = set()
    sections = {
        member.key: [one for group in member.groups() for one in all_groups(group, seen)]
        for member in top.members()
        if member.groups()
    }
    places = {kind_of(group): group for groups in sections.values() for group in groups}
    alone = [row for row in _rows(top, places) if not row[1].startswith("a group")]
    parts = [_HEAD, *_contents(sections), "", "## The run", "", *_table(alone)]
    for key, groups in sections.items():
        shared: list[Row] = []
        if key not in [group.key for group in groups]:
            # Each entry is of one kind, and all kinds have some options alike.
            shared = _shared_rows(groups, places)
            parts += [f"## {key}", "", _NOTES[key], "", f"All {key} have these options:", "", *_table(shared)]
        for group in groups:
            parts += [f"{'###' if '.' in group.key else '##'} {group.key}", ""]
            parts += [_cell(group.description), ""] if group.description else []
            parts += _table([row for row in _rows(group, places) if row not in shared])
    return "\n".join([*parts, _RESUME, rules_table()]) + "\n"


def main(argv: Sequence[str]) -> None:
    """Writes the page to the one file that is named."""
    [file] = argv
    write_text(Path(file), options_page())


def _contents(sections: Mapping[str, Sequence[Place]]) -> Iterator[str]:
    """A line for each section, with the groups in it behind it."""
    for key, groups in sections.items():
        inside = [_link(group.key, group.key.removeprefix(f"{key}.")) for group in groups if group.key != key]
        yield f"- {_link(key)}" + (f": {', '.join(inside)}" if inside else "")
    yield f"- {_link('on resume', 'what may change on resume')}"


def _link(key: str, text: str = "") -> str:
    # GitHub's names of headings: letters, digits, `-` and `_` alone.
    return f"[{text or key}](#{key.lower().replace('.', '').replace(' ', '-')})"


def _shared_rows(groups: Sequence[Place], places: Mapping[str, Place]) -> list[Row]:
    """The rows that stand in every group."""
    tables = [_rows(group, places) for group in groups]
    return [row for row in tables[0] if all(row in rows for rows in tables)]


def _rows(group: Place, places: Mapping[str, Place]) -> list[Row]:
    # A kind of named entry, as a loss, has the names of its options alone: its key is none that a user types.
    name = group.shape.child("name")
    is_kind = name is not None and len(name.choices) == 1
    rows = []
    for member in group.members():
        if member.shape.choices == [member.shape.default]:
            continue
        inside = [places[kind_of(one)] for one in member.groups()]
        place = inside[0].key if len(inside) == 1 else member.key
        value = value_of(member) or "a group"
        value += f": {_link(place)}" if inside else ""
        default = default_of(member)
        default = default if default in ("", NO_DEFAULT) else f"`{default}`"
        # Of a group that has a heading of its own, the description stands there.
        description = "" if place == member.key and value_of(member) == "" else member.description
        rows.append((f"`{member.name if is_kind else member.key}`", value, default, description))
    return rows


def _table(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    lines = [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return ["| option | value | default | |", "|---|---|---|---|", *lines, ""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    main(sys.argv[1:])
