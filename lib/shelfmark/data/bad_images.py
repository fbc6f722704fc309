"""The pictures of one set that could not be read."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shelfmark.core import dist
from shelfmark.core.contracts import BadImage
from shelfmark.core.csv_lines import line_feed_writer
from shelfmark.core.errors import UserError
from shelfmark.core.files import write_text
from shelfmark.core.text_safety import spreadsheet_cell
from shelfmark.core.together import agree
from shelfmark.core.wording import counted
from shelfmark.data.source_words import FILES
from shelfmark.data.sources.named import advice_on_unreadable

_NUM_NAMED = 10
ALWAYS_ALLOWED = 10
"""Unreadable pictures that end no run, however few pictures there are: one in a hundred of 196 would be one."""


class BadImageLog:
    """Counts unreadable pictures, lists them in `file`, and ends the run when they are too many.

    file: a CSV, `row,path,reason`, written by the main process; it exists once there is something in it.
    num_images: pictures in the set. limit: the part of them that may be unreadable, data.max_bad_images. It is never
    less than 10 pictures and, below 1, never all of them. None is for photographs that a user asks about: any number
    but all, and the file is written at the end of the pass. source: data.source, for the advice.
    """

    def __init__(self, file: Path, num_images: int, limit: float | None = 0.01, source: str = FILES) -> None:
        self.file, self.source = file, source
        self.num_images = num_images
        self.limit = limit
        self._by_row: dict[int, BadImage] = {}
        self._num_written = 0

    def __len__(self) -> int:
        return len(self._by_row)

    @property
    def reasons(self) -> dict[int, str]:
        """Why each picture could not be read, by its row in the set."""
        return {row: self._by_row[row].reason for row in sorted(self._by_row)}

    def add(self, bad_images: Iterable[BadImage]) -> None:
        """Counts the unreadable pictures of a batch, each picture once. UserError: there are more than the limit."""
        for bad in bad_images:
            self._by_row.setdefault(bad.row, bad)
        # Write only when the list has grown by a tenth: a list of 25,000 need not be written 25,000 times.
        if len(self) > 1.1 * self._num_written:
            self.write()
        if self.limit is None:
            if self.num_images:
                require_some_read(self.num_images - len(self), {bad.path: bad.reason for bad in self._by_row.values()})
        elif self._are_too_many(self.limit):
            self.write()
            raise UserError(self._complaint())

    def merge(self, states: Iterable[Mapping[str, Any]]) -> None:
        """Adds the unreadable pictures of other processes, from their `state_dict()`s."""
        for state in states:
            self.add(BadImage(*values) for values in zip(state["rows"], state["paths"], state["reasons"]))
        self._write()

    @contextmanager
    def over_ranks(self) -> Iterator[None]:
        """A block in which each process reads its share. After it every process's log has the pictures of all.

        All processes leave the block together: too many unreadable pictures, or an error in one process, is an error in
        each, and the list is written even then. The block must have no collectives, or end alike in every process.
        """
        failed: Exception | None = None
        try:
            yield
        except Exception as error:
            failed = error
        states = dist.gather_objects(self.state_dict())
        try:
            self.merge(states)
        except UserError as error:
            failed = error
        try:
            agree(failed)
        finally:
            del failed

    def _are_too_many(self, limit: float) -> bool:
        are_all = 0 < self.num_images <= len(self) and limit < 1
        return are_all or len(self) > allowed(self.num_images, limit)

    def write(self) -> None:
        """Brings the file up to date, while the pass goes on."""
        if self.limit is not None:
            self._write()

    def _write(self) -> None:
        if len(self) == self._num_written or not dist.is_main():
            return
        text = io.StringIO()
        rows = line_feed_writer(text)
        rows.writerow(BadImage._fields)
        rows.writerows(map(spreadsheet_cell, bad) for bad in sorted(self._by_row.values()))
        write_text(self.file, text.getvalue())
        self._num_written = len(self)

    def state_dict(self) -> dict[str, Sequence[int] | Sequence[str]]:
        """Plain lists, one entry a picture."""
        found = self._by_row.values()
        return {
            "rows": [bad.row for bad in found],
            "paths": [bad.path for bad in found],
            "reasons": [bad.reason for bad in found],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._by_row.clear()
        self._num_written = 0
        self.merge([state])

    def _complaint(self) -> str:
        assert self.limit is not None
        found = list(self._by_row.values())
        examples = "; ".join(bad.path for bad in found[:3])
        return (
            f"{len(self)} of {counted(self.num_images, 'image')} could not be read, more than"
            f" {allowed(self.num_images, self.limit)}, so the run ends. {reasons_told(found)}. For example"
            f" {examples}. All that were met are listed in {self.file}. {advice_on_unreadable(self.source)}, or allow"
            f" more, by data.max_bad_images (now {self.limit:g})."
        )


def read_bad_images(file: Path) -> dict[int, str]:
    """The reason for each row in a list that a `BadImageLog` wrote."""
    with open(file, encoding="utf-8", errors="surrogateescape", newline="") as stream:
        return {int(row["row"]): row["reason"] for row in csv.DictReader(stream)}


def allowed(num_images: int, limit: float) -> int:
    """As many of `num_images` pictures may be unreadable."""
    return max(ALWAYS_ALLOWED, int(limit * num_images))


def require_some_read(num_read: int, errors: Mapping[str, str]) -> None:
    """Raises a UserError if there are errors (id or path -> reason) and no photograph was read."""
    if num_read or not errors:
        return
    named = "; ".join(f"{one} could not be read: {reason}" for one, reason in list(errors.items())[:_NUM_NAMED])
    more = f"; and {len(errors) - _NUM_NAMED} more" if len(errors) > _NUM_NAMED else ""
    raise UserError(f"no photograph is left to answer: {named}{more}.")


def reasons_told(bad_images: Iterable[BadImage]) -> str:
    """The number of pictures for each reason, the most common first: `truncated: 7, empty file: 5`."""
    counts = Counter(bad.reason for bad in bad_images)
    return ", ".join(f"{reason}: {count:,}" for reason, count in counts.most_common())


def first_told(bad_images: Sequence[BadImage]) -> str:
    """A line for each of the first pictures, with its reason, and one for how many more there are."""
    lines = [f"\n  {bad.path}: {bad.reason}" for bad in bad_images[:_NUM_NAMED]]
    if len(bad_images) > _NUM_NAMED:
        lines.append(f"\n  and {len(bad_images) - _NUM_NAMED:,} more")
    return "".join(lines)
