"""The table that a person edits: written as CSV, and read as spreadsheets leave it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.csv_lines import line_feed_writer
from shelfmark.core.errors import UserError
from shelfmark.core.regular_files import read_regular
from shelfmark.core.text_encoding import NotUtf8, utf8_text
from shelfmark.pipelines.discover.findings import RoundFindings

COLUMNS = (
    "cluster",
    "size",
    "selected",
    "density",
    "joined_to",
    "nearest_known",
    "known_cosine",
    "nearest_cluster",
    "cluster_cosine",
    "suggested_name",
    "decision",
    "merge_into",
    "name",
)
_NEEDED = ("cluster", "decision")


def review_csv(findings: RoundFindings) -> str:
    """The table as text. It begins with a byte-order mark: spreadsheets would not read it as UTF-8 otherwise."""
    products = findings.products
    reviewable = np.flatnonzero(products.clusters >= 0)
    order = reviewable[np.lexsort((products.clusters[reviewable], -products.num_images[reviewable]))]
    text = io.StringIO()
    rows = line_feed_writer(text)
    rows.writerow(COLUMNS)
    for place in order:
        known, other = int(products.nearest_known[place]), int(products.nearest_other[place])
        other_cluster = int(products.clusters[other]) if other >= 0 else -1
        label = int(products.labels[place])
        rows.writerow(
            [
                products.clusters[place],
                products.cluster_sizes[place],
                products.num_images[place],
                f"{products.density[place]:.4f}",
                findings.known_names[label] if label < products.num_known else "",
                findings.known_names[known] if known >= 0 else "",
                _cosine(products.known_cosine[place]),
                other_cluster if other_cluster >= 0 else "",
                _cosine(products.other_cosine[place]) if other_cluster >= 0 else "",
                findings.suggested_name(int(place)),
                "keep",
                "",
                "",
            ]
        )
    return "\ufeff" + text.getvalue()


def review_rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """For each row that is not empty: the number of its last line, and its cells by column name."""
    text = _text(file)
    header: list[str] | None = None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    for row in _parsed(reader, file):
        cells = [cell.strip() for cell in row]
        if not any(cells) or (header is None and cells[0].lower().startswith("sep=")):
            continue
        if header is None:
            header = [cell.lower().replace(" ", "_") for cell in cells]
            missing = [name for name in _NEEDED if name not in header]
            if missing:
                raise UserError(
                    f"{file}, line {reader.line_num}: the first row must name the columns, and {' and '.join(missing)}"
                    f" {'is' if len(missing) == 1 else 'are'} missing. It had: {', '.join(COLUMNS)}."
                )
            continue
        # zip leaves out the empty cells that spreadsheets add on the right, and a short row's are empty.
        yield reader.line_num, dict.fromkeys(_NEEDED, "") | dict(zip(header, cells))
    if header is None:
        raise UserError(f"{file} is empty. Remove it and run `shelfmark discover` again to have it written anew.")


def _parsed(reader: Any, file: Path) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.line_num}: no CSV: {error}.") from None


def _text(file: Path) -> str:
    try:
        data = read_regular(file)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from None
    try:
        # Spreadsheets write UTF-16 as `Unicode text`.
        return data.decode("utf-16") if data[:2] in (b"\xff\xfe", b"\xfe\xff") else utf8_text(data)
    except (NotUtf8, UnicodeDecodeError):
        told = NotUtf8(data)
        raise UserError(
            f"{file} is {told} Save it from the spreadsheet as `CSV UTF-8` (not as a workbook, nor as `CSV`)."
        ) from None


def _delimiter(text: str) -> str:
    # No heading contains one of these characters, so the most frequent one separates the cells.
    lines = (line for line in text.splitlines() if line.strip() and not line.lower().startswith("sep="))
    header = next(lines, "")
    return max(",;\t", key=header.count)


def is_edited(file: Path) -> bool:
    """Whether a person edited the table; True also for a file that is no table any more."""
    try:
        return any(
            cells.get(name, "").lower() not in ("", "keep")
            for _, cells in review_rows(file)
            for name in ("decision", "merge_into", "name")
        )
    except UserError:
        return True


def are_of_same_clusters(one: bytes, other: bytes) -> bool:
    """Whether two tables have rows of the same clusters with the same sizes, in any order."""
    return _sizes(one) == _sizes(other)


def _sizes(data: bytes) -> list[tuple[str, str]] | None:
    """The cluster and size of each row, to tell tables of different clusters apart; None if the file is no table."""
    text = data.decode("utf-8-sig", "replace")
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text)))
    except csv.Error:
        return None
    if not rows or [cell.strip() for cell in rows[0][:2]] != list(COLUMNS[:2]):
        return None
    return sorted((row[0], row[1]) for row in rows[1:] if len(row) > 1 and row[0])


def _cosine(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}"
