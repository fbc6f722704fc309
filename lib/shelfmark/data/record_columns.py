"""Columns of an annotation file, grown from blocks of its records. Legend: N records, n records of a block.

Millions of records are checked in seconds because a check looks at a whole column first (which types occur) and goes
through it record by record only where something is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, cast

import numpy as np

from shelfmark.core.columns import Column, column_of
from shelfmark.core.strings import Strings
from shelfmark.data import findings as problem
from shelfmark.data.box_checks import without_others
from shelfmark.data.findings import Findings
from shelfmark.data.record_fields import BOX, CATEGORY, INTEGER, LARGEST, ROLE, SMALLEST, TEXT, Field, Packed
from shelfmark.data.repeated_fields import repeated_fields
from shelfmark.data.shown_values import shown

UNLABELLED = "unlabelled"


class RecordColumns:
    """Takes block after block; `columns` are those of all.

    fields: which become columns. own: also keep what other fields hold, for `own_columns`. What is wrong goes into
    `findings`, with the number of the record. beyond: integers of more than 63 bits as the file has them, by field and
    record.
    """

    def __init__(self, fields: Sequence[Field], findings: Findings, own: bool = False) -> None:
        self.fields, self.findings, self.own = fields, findings, own
        self.num_records = 0
        self.beyond: dict[tuple[str, int], int] = {}
        self._parts: dict[str, list[Packed | None]] = {item.name: [] for item in fields}
        self._lengths: list[int] = []
        self._own: dict[str, list[list[Any]]] = {}

    def add(self, records: Sequence[Any], text: bytes = b"") -> None:
        """The next records, as parsed. text: from which they were parsed; without it no repeated field is noticed."""
        first, num_errors = self.num_records, len(self.findings.errors)
        objects = self._objects(records, first)
        for index, name in repeated_fields(text, objects) if text else ():
            self.findings.error(first + index, problem.REPEATED_FIELD, name)
        names = set(chain.from_iterable(objects))
        values: dict[str, list[Any]] = {}
        for item in self.fields:
            if item.required or item.name in names:
                values[item.name] = self._values(objects, item, first)
            if item is ROLE:
                self._check_nulls(values, first, num_errors)
        for item in self.fields:
            self._parts[item.name].append(self._packed(item, values[item.name]) if item.name in values else None)
        for name in sorted(names - set(self._parts)) if self.own else ():
            self._own.setdefault(name, [[None] * length for length in self._lengths])
        self._lengths.append(len(records))
        for name, parts in self._own.items():
            parts.append([record.get(name) for record in objects])
        self.num_records += len(records)

    def columns(self) -> dict[str, Packed | None]:
        """Each field's column, by name; None for an optional field that no record has. Call it once."""
        return {item.name: self._joined(item, self._parts.pop(item.name)) for item in self.fields}

    def own_columns(self) -> dict[str, Column | None]:
        """The columns of all other fields, by name; None for a field that is neither whole numbers nor text."""
        return {name: column_of(list(chain.from_iterable(self._own[name]))) for name in sorted(self._own)}

    def _packed(self, item: Field, values: Sequence[Any]) -> Packed:
        if item.kind is BOX:
            values = without_others(values, self.findings, self.num_records)
        packed = item.kind.packed(values)
        if isinstance(packed, np.ndarray) and item.kind is INTEGER and np.isin(packed, (SMALLEST, LARGEST)).any():
            found = enumerate(values, start=self.num_records)
            self.beyond |= {(item.name, row): one for row, one in found if one is not None and abs(one) >= LARGEST}
        return packed

    def _joined(self, item: Field, parts: list[Packed | None]) -> Packed | None:
        if all(part is None for part in parts) and not item.required:
            return None
        whole = [item.kind.absent(length) if part is None else part for part, length in zip(parts, self._lengths)] or [
            item.kind.packed([])
        ]
        if isinstance(whole[0], Strings):
            return Strings.joined(cast(list[Strings], whole))
        return np.concatenate(cast(list[np.ndarray], whole))

    def _objects(self, records: Sequence[Any], first: int) -> Sequence[dict[str, Any]]:
        """`records` as dicts. A record that is no JSON object is reported and replaced by an empty dict."""
        if set(map(type, records)) <= {dict}:
            return records
        for index, record in enumerate(records, start=first):
            if type(record) is not dict:
                self.findings.error(index, problem.NOT_AN_OBJECT, shown(record))
        return [record if type(record) is dict else _NOT_A_RECORD for record in records]

    def _values(self, records: Sequence[dict[str, Any]], item: Field, first: int) -> list[Any]:
        """The field's value in each record; None in place of one that is missing or wrong, which is reported."""
        values = [record.get(item.name, _Absent) for record in records]
        allowed = set(item.kind.types) | (set() if item.required and not item.is_nullable else {type(None)})
        if item.required and item.kind is TEXT and "" in values:
            self._report_empty(values, item, first)
        found = set(map(type, values))
        if found <= allowed:
            return values
        if not item.required and found <= allowed | {type}:
            return [None if value is _Absent else value for value in values]
        for index, value in enumerate(values):
            if type(value) in allowed:
                continue
            values[index] = None
            if value is not _Absent:
                told = f"{item.name}={shown(value)}, wanted {item.kind.wanted}"
                self.findings.error(first + index, problem.WRONG_TYPE, told)
            elif item.required and records[index] is not _NOT_A_RECORD:
                self.findings.error(first + index, problem.MISSING_FIELD, item.name)
        return values

    def _report_empty(self, values: Sequence[Any], item: Field, first: int) -> None:
        for index, value in enumerate(values, start=first):
            if value == "":
                self.findings.error(index, problem.MISSING_FIELD, f"{item.name} is empty")

    def _check_nulls(self, values: dict[str, list[Any]], first: int, num_errors: int) -> None:
        """Reports a `category_id` of None that is neither reported already nor allowed by the role."""
        labels, roles = values.get(CATEGORY.name, ()), values.get(ROLE.name)
        if None not in labels:
            return
        reported = {finding.record for finding in self.findings.errors[num_errors:]}
        for index, value in enumerate(labels):
            role = roles[index] if roles else None
            if value is None and role != UNLABELLED and first + index not in reported:
                self.findings.error(first + index, problem.NULL_CATEGORY, f"category_id=null, role={shown(role)}")


class _Absent:
    """Stands for a field that a record does not have; null is a value of its own."""


_NOT_A_RECORD: dict[str, Any] = {}
"""Stands for a record that is not an object. That was reported, so its fields are not reported as missing."""
