"""Annotation files as columns, whichever form they have: JSON, or Parquet, which is known by its first bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.columns import Column
from shelfmark.core.errors import UserError
from shelfmark.core.log import say
from shelfmark.core.strings import Strings
from shelfmark.data.documents import file_errors_told, read_document
from shelfmark.data.findings import BytesOf, Findings
from shelfmark.data.json_stream import NotStreamed, RecordStream
from shelfmark.data.parquet_records import ParquetRecords, is_parquet
from shelfmark.data.record_columns import RecordColumns
from shelfmark.data.record_fields import Field, Packed


@dataclass(frozen=True)
class Records:
    """What an annotation file holds. Legend: N records.

    columns: of the fields that were asked for, (N,) each; None for an optional one that no record has. own: the other
    fields, where they were asked for. top: what stands beside the records, as num_classes. sha256: of the file's bytes.
    bytes_of: see `Findings.settle`. beyond: integers of more than 63 bits as they stand in the file, by field and
    record.
    """

    columns: Mapping[str, Packed | None]
    own: Mapping[str, Column]
    top: Mapping[str, Any]
    sha256: str
    bytes_of: BytesOf | None = None
    beyond: Mapping[tuple[str, int], int] = field(default_factory=dict)

    def array(self, name: str) -> np.ndarray | None:
        """The column of an optional field of numbers, flags or boxes."""
        column = self.columns[name]
        assert not isinstance(column, Strings)
        return column

    def strings(self, name: str) -> Strings | None:
        """The column of an optional field of texts."""
        column = self.columns[name]
        assert not isinstance(column, np.ndarray)
        return column

    def numbers(self, name: str) -> np.ndarray:
        """The column of a required field of numbers."""
        column = self.array(name)
        assert column is not None
        return column

    def texts(self, name: str) -> Strings:
        """The column of a required field of texts."""
        column = self.strings(name)
        assert column is not None
        return column


def read_records(file: Path, key: str, fields: Sequence[Field], findings: Findings, own: bool = False) -> Records:
    """The records under `key`, at least one. What is wrong with a record goes into `findings`.

    own: keep fields beside `fields` too, where they are whole numbers or text; it says which are neither.
    Raises a UserError where the file cannot be read, or is none with such records.
    """
    with file_errors_told(file):
        read = _parquet if is_parquet(file) else _json
    return read(file, key, fields, findings, own)


def _json(file: Path, key: str, fields: Sequence[Field], findings: Findings, own: bool) -> Records:
    columns, stream = RecordColumns(fields, findings, own), RecordStream(file, key)
    try:
        with file_errors_told(file):
            for block in stream.blocks():
                columns.add(block.records, block.text)
    except NotStreamed as damage:
        read_document(file, key, damage)
        raise UserError(f"{file} has changed while it was read; read it again.") from None
    except RecursionError:
        raise UserError(
            f"{file}: a record holds lists or objects hundreds deep in each other, among the records from"
            f" {columns.num_records} on (counted from 0). Take them out."
        ) from None
    own_columns = _kept(columns.own_columns(), file)
    return Records(columns.columns(), own_columns, stream.top, stream.sha256, stream.bytes_of, beyond=columns.beyond)


def _parquet(file: Path, key: str, fields: Sequence[Field], findings: Findings, own: bool) -> Records:
    records = ParquetRecords(file)
    own_columns = _kept(records.own_columns(fields), file) if own else {}
    return Records(records.columns(fields, findings), own_columns, records.top, records.sha256)


def _kept(columns: Mapping[str, Column | None], file: Path) -> dict[str, Column]:
    if other := [name for name, column in columns.items() if column is None]:
        say(f"note: {file}: no image can be searched for by {', '.join(other)}: --where takes whole numbers and text")
    return {name: column for name, column in columns.items() if column is not None}
