"""A table of a foreign program, CSV or Parquet, as texts by column. Legend: N rows."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shelfmark.core.errors import UserError
from shelfmark.core.regular_files import read_regular
from shelfmark.core.text_encoding import UTF8_MARK, NotUtf8
from shelfmark.data import findings as problem
from shelfmark.data.documents import file_errors_told
from shelfmark.data.findings import Findings, Places
from shelfmark.data.parquet_records import ParquetRecords

_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class ForeignTable:
    """names: of the columns. cells: (N,) texts of a column, by its name, empty for no value. names_nothing: what a
    column has that names nothing, as numbers with a decimal point. places: where rows are in the file."""

    file: Path
    names: Sequence[str]
    num_rows: int
    cells: Callable[[str], Sequence[str]]
    names_nothing: Callable[[str], str] = lambda name: ""
    places: Places = field(default_factory=Places)


def read_csv(file: Path, findings: Findings) -> ForeignTable:
    """A CSV file with a header, in UTF-8, divided by commas, semicolons, tabs or bars: what the header has most of.

    Nothing is guessed: a cell is the text that stands there, and a row with more or fewer cells than the header is
    reported. Raises a UserError where the file is no such CSV.
    """
    with file_errors_told(file):
        raw = read_regular(file)
    lines = _Lines(file, raw)
    rows: list[list[str]] = []
    begins: list[int] = []
    numbers: list[int] = []
    reader = csv.reader(lines, delimiter=_delimiter(raw), strict=True)
    try:
        header = next(reader, [])
        _require_header(file, header)
        begin, number = lines.byte, lines.number + 1
        for cells in reader:
            if cells:
                if len(cells) != len(header):
                    told = f"{len(cells)} cells, the header has {len(header)}"
                    findings.error(len(rows), problem.CELLS, told)
                rows.append(cells if len(cells) == len(header) else [""] * len(header))
                begins.append(begin)
                numbers.append(number)
            begin, number = lines.byte, lines.number + 1
    except csv.Error as error:
        raise UserError(f"{file}, line {lines.number}, before byte {lines.byte:,}: no CSV: {error}.") from None
    if not rows:
        raise UserError(f"{file} has a header and no rows.")
    places = {name: place for place, name in enumerate(header)}
    return ForeignTable(
        file,
        header,
        len(rows),
        lambda name: [row[places[name]] for row in rows],
        places=Places.of_rows(begins, numbers),
    )


def read_parquet(file: Path, findings: Findings) -> ForeignTable:
    """A Parquet file with any columns of text and numbers."""
    records = ParquetRecords(file)
    return ForeignTable(file, records.all_names, records.num_records, records.cells, records.names_nothing)


class _Lines:
    """The lines of a file as text. byte: behind the last that was taken; number: how many were."""

    def __init__(self, file: Path, raw: bytes) -> None:
        self.file, self.raw = file, raw
        self.byte = len(UTF8_MARK) if raw.startswith(UTF8_MARK) else 0
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        while self.byte < len(self.raw):
            end = self.raw.find(b"\n", self.byte) + 1 or len(self.raw)
            try:
                line = self.raw[self.byte : end].decode("utf-8")
            except UnicodeDecodeError:
                told = NotUtf8(self.raw)
                raise UserError(f"{self.file}, line {told.line}, byte {told.byte:,}: the file is {told}") from None
            self.byte, self.number = end, self.number + 1
            yield line


def _delimiter(raw: bytes) -> str:
    first = raw.removeprefix(UTF8_MARK).split(b"\n", 1)[0].decode("utf-8", "replace")
    return max(_DELIMITERS, key=first.count)


def _require_header(file: Path, header: Sequence[str]) -> None:
    if not any(header):
        raise UserError(f"{file} is empty. Its first line must name its columns.")
    twice = [name for name in dict.fromkeys(header) if header.count(name) > 1]
    if twice:
        raise UserError(f"{file} has the column {twice[0]!r} twice in its header; rename one of the two.")
