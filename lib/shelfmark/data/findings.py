"""Findings about an annotation file: collected, written to a list, printed or raised."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from shelfmark.core.csv_lines import line_feed_writer
from shelfmark.core.dist import is_main
from shelfmark.core.errors import UserError
from shelfmark.core.files import write_text
from shelfmark.core.log import say
from shelfmark.core.strings import Strings
from shelfmark.core.text_safety import spreadsheet_cell
from shelfmark.core.wording import counted

Paths = Sequence[str] | Strings
BytesOf = Callable[[Iterable[int]], Mapping[int, int]]
"""From numbers of records to the bytes of the file where they begin, or to its lines, counted from 1."""
NUM_SHOWN = 20
DEFAULT_FOLDER = Path("log") / "findings"

NOT_AN_OBJECT = "record is not an object"
MISSING_FIELD = "missing field"
REPEATED_FIELD = "field that stands twice"
WRONG_TYPE = "wrong type"
CATEGORY_RANGE = "category out of range"
WEIGHT_RANGE = "weight out of range"
CONFIDENCE_RANGE = "confidence out of range"
CELLS = "row with another number of cells"
TWO_GROUPS = "class in two groups"
REPEATED_ID = "id that stands twice"
UNKNOWN_ID = "id of nothing"
WRONG_BOX = "not a box"
NULL_CATEGORY = "null category_id without the role 'unlabelled'"
TWO_LABELS = "duplicate path with two labels"
OUTSIDE = "path outside the allowed roots"
LEADS_OUT = "link out of the allowed roots"
MISSING_FILE = "missing file"
THE_DISK_HAS = "the disk has"
REPEATED = "image listed more than once"

NEXT_STEPS = {
    NOT_AN_OBJECT: 'a record is an object, as {"category_id": 0, "fpath": "cola.jpg"}; write one, or delete the value.',
    MISSING_FIELD: "fill in what is missing, or delete the record.",
    WRONG_TYPE: "write the value as it is wanted; nothing is converted, so a number in quotes is text.",
    WEIGHT_RANGE: "write a finite number from 0 on, or leave the weight out; it is 1 then.",
    CONFIDENCE_RANGE: "write a finite number, or leave the confidence out.",
    TWO_GROUPS: "a class has one group; write the same in each of its rows.",
    REPEATED_ID: "give each its own id, or delete what stands there twice.",
    UNKNOWN_ID: "correct the id, add the picture or category that it means, or delete the record.",
    CELLS: "a cell that has the character between cells within it stands in quotes.",
    REPEATED_FIELD: "a record has each field once; take one of the two out.",
    CATEGORY_RANGE: "labels run from 0 to num_classes - 1; correct category_id, or num_classes in the file.",
    WRONG_BOX: (
        "write bbox as [x, y, width, height]: four numbers, in pixels of the upright picture, from its upper left"
        " corner; a record without bbox means the whole picture."
    ),
    NULL_CATEGORY: 'give the label, or add "role": "unlabelled" to the record.',
    TWO_LABELS: "keep the record with the right label and delete the other.",
    OUTSIDE: (
        "add the folder to data.extra_roots. A leading / makes a path absolute: take it away if the path"
        " was meant to start at data.root."
    ),
    LEADS_OUT: (
        "where the images behind the link are meant, add the folder that holds them to data.extra_roots: the images"
        " of an annotation file come from data.root and from there alone."
    ),
    MISSING_FILE: (
        "check data.root, or delete the records of files that are gone. Where the disk has a file of nearly the same"
        " name, write the name as the disk has it, or rename the file."
    ),
}
_WRONG_ROOT = "None of the files is there, so data.root (data.test_root) is most likely the wrong folder."


@dataclass(frozen=True)
class ImagesFolder:
    """The folder that the paths of a file start from, by --images of `shelfmark prepare`. is_given: whether it was
    typed; else it is the folder of the file."""

    folder: Path
    is_given: bool

    @property
    def next_steps(self) -> Mapping[str, str]:
        """Kind of finding -> what to do about it, where the usual advice would name options that `prepare` lacks."""
        within = f"every image must lie in {self.folder}, which is --images" + ("" if self.is_given else " by default")
        return {
            OUTSIDE: f"{within}. A leading / makes a path absolute: take it away if the path was meant to start there.",
            LEADS_OUT: f"{within}, also at the end of a link.",
            MISSING_FILE: NEXT_STEPS[MISSING_FILE].replace("data.root", "--images"),
        }

    @property
    def wrong_root(self) -> str:
        if self.is_given:
            return f"None of the files is there, so --images {self.folder} is most likely the wrong folder."
        return (
            f"None of the files is there. Without --images paths start from {self.folder}; give the folder that they"
            " start from, as --images DIR."
        )


@dataclass(frozen=True)
class Places:
    """Where the records of a file are in it; None for a file without such places.

    within: the list that the numbers count in, of a file with several.
    """

    bytes_of: BytesOf | None = None
    lines_of: BytesOf | None = None
    within: str = ""

    @classmethod
    def of_rows(cls, begins: Sequence[int], lines: Sequence[int]) -> Places:
        """begins, lines: (N,) byte and line of each row."""
        return cls(
            lambda wanted: {row: begins[row] for row in wanted if row < len(begins)},
            lambda wanted: {row: lines[row] for row in wanted if row < len(lines)},
        )

    @property
    def of_list(self) -> str:
        """Words behind `record`."""
        return f" of `{self.within}`" if self.within else ""

    def columns(self, records: Sequence[int]) -> dict[str, Mapping[int, int]]:
        """line and byte of each record, as far as the file has such."""
        known = {"line": self.lines_of, "byte": self.bytes_of}
        return {name: places_of(records) for name, places_of in known.items() if places_of is not None}


class Finding(NamedTuple):
    """One thing noticed about one record, which is given by its index (from 0)."""

    record: int
    problem: str
    value: str


_NOWHERE = Places()
_AT = {"line": "line", "byte": "at byte"}


@dataclass
class Findings:
    """Everything noticed about one file: `errors` stop the run, `notes` are only told."""

    errors: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)

    def error(self, record: int, problem: str, value: str) -> None:
        self.errors.append(Finding(record, problem, value))

    def note(self, record: int, problem: str, value: str) -> None:
        self.notes.append(Finding(record, problem, value))

    def keep_alone(self, problem: str) -> None:
        """Drops all other findings of the records that have this one: what follows from it is no mistake of its own."""
        alone = {finding.record for finding in self.errors if finding.problem == problem}
        self.errors = [one for one in self.errors if one.problem == problem or one.record not in alone]
        self.notes = [one for one in self.notes if one.record not in alone]

    def settle(
        self,
        file: Path,
        paths: Paths,
        folder: Path | None = None,
        places: Places = _NOWHERE,
        images: ImagesFolder | None = None,
    ) -> None:
        """Writes all findings to `<folder>/<stem of file>.findings.csv`, tells the notes, raises the errors.

        paths: (N,) each record's path. images: where the paths start from in place of data.root, for the advice. Does
        nothing where nothing was found.
        """
        if not self.errors and not self.notes:
            return
        found = self.errors + self.notes
        where = _write(sorted(found), paths, places, file, folder or DEFAULT_FOLDER)
        for problem, number in Counter(note.problem for note in self.notes).items():
            first = next(note for note in self.notes if note.problem == problem)
            record = f"record {first.record}{places.of_list}"
            say(f"note: {file}: {number:,} x {problem}, first in {record}: {first.value}. {where}")
        if self.errors:
            raise UserError(_report(sorted(self.errors), paths, places, file, where, images))


def _write(findings: Sequence[Finding], paths: Paths, places: Places, file: Path, folder: Path) -> str:
    """Writes the list, in the main process alone, and returns the sentence that says where it is."""
    target = folder / f"{file.stem}.findings.csv"
    text = io.StringIO()
    rows = line_feed_writer(text)
    columns = places.columns([finding.record for finding in findings])
    within = {"list": places.within} if places.within else {}
    rows.writerow(("index", "problem", "value", "path", *columns, *within))
    for finding in findings:
        place = (column.get(finding.record, "") for column in columns.values())
        rows.writerow(map(spreadsheet_cell, (*finding, paths[finding.record], *place, *within.values())))
    try:
        if is_main():
            write_text(target, text.getvalue())
    except (OSError, UserError) as error:
        return f"The whole list could not be written: {error}"
    return f"The whole list: {target}"


def _report(
    errors: Sequence[Finding],
    paths: Paths,
    places: Places,
    file: Path,
    where: str,
    images: ImagesFolder | None,
) -> str:
    kinds = Counter(finding.problem for finding in errors)
    findings = counted(len(errors), "finding")
    lines = [f"{file}: {findings} in {counted(len(paths), 'record')}{places.of_list} (counted from 0)."]
    lines += [f"  {number:,} x {problem}" for problem, number in kinds.most_common()]
    lines.append(f"The first {NUM_SHOWN}:" if len(errors) > NUM_SHOWN else "They are:")
    first = errors[:NUM_SHOWN]
    columns = places.columns([finding.record for finding in first])
    for finding in first:
        path = paths[finding.record]
        of = f" ({path})" if path and path not in finding.value else ""
        known = {name: column[finding.record] for name, column in columns.items() if finding.record in column}
        place = "".join(f", {_AT[name]} {number:,}" for name, number in known.items())
        lines.append(f"  record {finding.record}: {finding.problem}: {finding.value}{of}{place}")
    lines.append(where)
    is_near = any(THE_DISK_HAS in finding.value for finding in errors)
    return "\n".join(lines + _next_steps(kinds, paths, is_near, images))


def _next_steps(kinds: Mapping[str, int], paths: Paths, is_near: bool, images: ImagesFolder | None) -> list[str]:
    """is_near: whether the disk has a file of nearly the same name, so that the folder is the right one."""
    known = NEXT_STEPS if images is None else {**NEXT_STEPS, **images.next_steps}
    steps = [f"Next, {problem}: {known[problem]}" for problem in kinds]
    if MISSING_FILE in kinds and kinds[MISSING_FILE] == sum(map(bool, paths)) and not is_near:
        steps.append(_WRONG_ROOT if images is None else images.wrong_root)
    return steps
