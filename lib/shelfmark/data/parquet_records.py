"""Annotations as Parquet: a column a field, as in JSON. Legend: N records.

num_classes, class_names and groups stand in the file's metadata, as JSON under the key `shelfmark`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from shelfmark.core.byte_runs import gathered
from shelfmark.core.columns import NO_NUMBER, Column
from shelfmark.core.errors import UserError
from shelfmark.core.files import atomic_path, sha256_file
from shelfmark.core.parquet import pyarrow_for
from shelfmark.core.regular_files import open_regular
from shelfmark.core.strings import Strings
from shelfmark.data import findings as problem
from shelfmark.data.documents import file_errors_told
from shelfmark.data.findings import Findings
from shelfmark.data.record_columns import UNLABELLED
from shelfmark.data.record_fields import (
    BOX,
    CATEGORY,
    FLAG,
    INTEGER,
    NO_INTEGER,
    ROLE,
    SMALLEST,
    TEXT,
    Field,
    Kind,
    Packed,
)
from shelfmark.data.repeated_fields import repeated_fields
from shelfmark.data.shown_values import shown

PARQUET_MARK = b"PAR1"
_METADATA = b"shelfmark"


def is_parquet(file: Path) -> bool:
    """Whether the file begins as Parquet does. Raises what `open_regular` raises."""
    with open_regular(file) as stream:
        return stream.read(len(PARQUET_MARK)) == PARQUET_MARK


class ParquetRecords:
    """One file. top: what the metadata says beside the records. sha256: of the file's bytes.

    Raises a UserError where pyarrow is missing, or where the file is damaged or empty.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        pyarrow = self._pyarrow = pyarrow_for(str(file))
        try:
            with file_errors_told(file):
                self._open = pyarrow.parquet.ParquetFile(file)
                self.sha256 = sha256_file(file)
        except pyarrow.ArrowException as error:
            raise UserError(f"{file} is no whole Parquet file: {error}. Was it copied to the end?") from None
        self.names: list[str] = self._open.schema_arrow.names
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise UserError(f"{file} has the column {twice[0]!r} twice; take one of the two out.")
        self.num_records = int(self._open.metadata.num_rows)
        if not self.num_records:
            raise UserError(f"{file} has no rows. There is nothing to read; prepare the file again.")
        self.top = self._metadata()

    def columns(self, fields: Sequence[Field], findings: Findings) -> dict[str, Packed | None]:
        """Each field's column, by name; None in place of an optional one that the file lacks."""
        lacking = [item.name for item in fields if item.required and item.name not in self.names]
        if lacking:
            raise UserError(
                f"{self.file} has no column {lacking[0]!r}; its columns are {', '.join(self.names)}. `shelfmark prepare"
                " parquet` makes annotations of a file with other columns."
            )
        found = {item.name: self._column(item, findings) for item in fields}
        if CATEGORY in fields:
            self._check_nulls(found, findings)
        return found

    def own_columns(self, fields: Sequence[Field]) -> dict[str, Column | None]:
        """The columns beside those of `fields`, by name; None for a column that is neither whole numbers nor text."""
        return {name: self._own(name) for name in sorted(set(self.names) - {item.name for item in fields})}

    def cells(self, name: str) -> list[str]:
        """A column as text, as CSV would have it; empty where there is no value."""
        column, types = self._read(name), self._pyarrow.types
        if _is_text(column.type):
            return list(_strings(column))
        if types.is_integer(column.type):
            return list(_strings(column.cast("string")))
        if not types.is_floating(column.type) and not types.is_nested(column.type):
            raise UserError(f"{self.file}: the column {name!r} has the type {column.type}, wanted text or numbers.")
        return ["" if value is None else orjson.dumps(value).decode() for value in column.to_pylist()]

    def names_nothing(self, name: str) -> str:
        """What a column has that names nothing: lists, or numbers with a decimal point; empty where it names."""
        types, (column, _, member) = self._pyarrow.types, self._split(name)
        kind = self._open.schema_arrow.field(column).type
        kind = kind.field(member).type if member else kind
        kind = kind.value_type if types.is_dictionary(kind) else kind
        if types.is_nested(kind):
            return "lists or objects"
        return "numbers with a decimal point" if types.is_floating(kind) else ""

    def write_rows(self, target: Path, kept: np.ndarray) -> None:
        """Writes the file without the rows that are not `kept`, (N,) bool: columns and metadata as they were."""
        table = self._open.read().filter(self._pyarrow.array(kept))
        with atomic_path(target) as beside:
            self._pyarrow.parquet.write_table(table, beside)

    @property
    def all_names(self) -> list[str]:
        """The columns, and `column.member` for each member of a column of objects."""
        fields, is_struct = self._open.schema_arrow, self._pyarrow.types.is_struct
        within = [f"{one.name}.{member.name}" for one in fields if is_struct(one.type) for member in one.type]
        return [*self.names, *(name for name in within if name not in self.names)]

    def _split(self, name: str) -> tuple[str, str, str]:
        return (name, "", "") if name in self.names else name.partition(".")

    def _metadata(self) -> dict[str, Any]:
        text = (self._open.schema_arrow.metadata or {}).get(_METADATA)
        if text is None:
            return {}
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise UserError(f"{self.file}: the metadata `shelfmark` is not valid JSON: {error}.") from None
        if not isinstance(found, dict):
            raise UserError(f"{self.file}: the metadata `shelfmark` is no JSON object: {shown(found)}.")
        if repeated := repeated_fields(text, [found]):
            raise UserError(f"{self.file}: the metadata `shelfmark` has {repeated[0][1]!r} twice. Take one out.")
        return found

    def _read(self, name: str) -> Any:
        pyarrow = self._pyarrow
        try:
            # Threads would share columns out, and there is one.
            column = self._open.read(columns=[name], use_threads=False).column(0)
            column.validate(full=True)
            if member := self._split(name)[2]:
                column = pyarrow.compute.struct_field(column, member)
            if pyarrow.types.is_dictionary(column.type):
                column = column.cast(column.type.value_type)
        except (pyarrow.ArrowException, OSError) as error:
            raise UserError(f"{self.file}: the column {name!r} cannot be read: {error}.") from None
        return column

    def _column(self, item: Field, findings: Findings) -> Packed | None:
        if item.name not in self.names:
            return None
        column = self._read(item.name)
        if column.null_count == len(column) and not item.required:
            return None
        if not _has_kind(column.type, item.kind):
            raise UserError(
                f"{self.file}: the column {item.name!r} has the type {column.type}, wanted {item.kind.wanted}."
            )
        if item.kind is BOX:
            return _boxes(column, findings)
        packed = _packed(column, item.kind)
        if item.required and not item.is_nullable:
            missing = _is_empty(packed) if isinstance(packed, Strings) else packed == NO_INTEGER
            for row in np.flatnonzero(missing).tolist():
                findings.error(row, problem.MISSING_FIELD, f"{item.name} is empty")
        return packed

    def _check_nulls(self, found: Mapping[str, Packed | None], findings: Findings) -> None:
        labels, roles = found[CATEGORY.name], found.get(ROLE.name)
        missing = np.asarray(labels == NO_INTEGER)
        if isinstance(roles, Strings):
            missing &= ~roles.equal_to(UNLABELLED)
        for row in np.flatnonzero(missing).tolist():
            role = shown(roles[row] or None) if isinstance(roles, Strings) else "null"
            findings.error(row, problem.NULL_CATEGORY, f"category_id=null, role={role}")

    def _own(self, name: str) -> Column | None:
        column = self._read(name)
        types = self._pyarrow.types
        if types.is_boolean(column.type):
            return _strings(column.cast("string"))
        if types.is_integer(column.type):
            numbers = _integers(column)
            return np.where(numbers == NO_INTEGER, NO_NUMBER, numbers)
        return _strings(column) if _is_text(column.type) else None


def annotations_parquet(
    records: Iterable[Mapping[str, Any]],
    num_classes: int,
    class_names: Sequence[str] = (),
    groups: Sequence[str] = (),
) -> bytes:
    """As `annotations_json`, as Parquet. A record has fields of the format alone."""
    top = {"num_classes": num_classes, "class_names": list(class_names), "groups": list(groups)}
    return _file(records, {name: value for name, value in top.items() if value})


def image_list_parquet(image_ids: Iterable[str]) -> bytes:
    """A test set as Parquet."""
    return _file([{"image_id": one} for one in image_ids], {})


def _file(records: Iterable[Mapping[str, Any]], top: Mapping[str, Any]) -> bytes:
    pyarrow = pyarrow_for("Parquet")
    rows = list(records)
    names = list(dict.fromkeys(name for row in rows for name in row))
    kinds = {
        "category_id": pyarrow.int64(),
        "true_category_id": pyarrow.int64(),
        "confidence": pyarrow.float64(),
        "weight": pyarrow.float64(),
        "is_query": pyarrow.bool_(),
        "is_gallery": pyarrow.bool_(),
        "bbox": pyarrow.list_(pyarrow.float64(), 4),
    }
    columns = {
        name: pyarrow.array([row.get(name) for row in rows], kinds.get(name, pyarrow.string())) for name in names
    }
    table = pyarrow.table(columns)
    if top:
        table = table.replace_schema_metadata({_METADATA: orjson.dumps(top)})
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out)
    return out.getvalue()


def _is_text(kind: Any) -> bool:
    types = pyarrow_for("Parquet").types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _has_kind(found: Any, kind: Kind) -> bool:
    types = pyarrow_for("Parquet").types
    if kind is INTEGER:
        return bool(types.is_integer(found))
    if kind is TEXT:
        return _is_text(found)
    if kind is FLAG:
        return bool(types.is_boolean(found))
    if kind is BOX:
        is_list = types.is_list(found) or types.is_large_list(found) or types.is_fixed_size_list(found)
        return bool(is_list and _is_number(found.value_type))
    return _is_number(found)


def _is_number(kind: Any) -> bool:
    types = pyarrow_for("Parquet").types
    return bool(types.is_floating(kind) or types.is_integer(kind))


def _packed(column: Any, kind: Kind) -> Packed:
    if kind is TEXT:
        return _strings(column)
    if kind is INTEGER:
        return _integers(column)
    if kind is FLAG:
        return _numbers(column, absent=False)
    return _numbers(_floats(column), absent=np.nan)


def _floats(column: Any) -> Any:
    # As in JSON, a whole number of more than 53 bits becomes the nearest that there is.
    return column.cast("float64", safe=False)


def _integers(column: Any) -> np.ndarray:
    if str(column.type) == "uint64":
        return np.asarray(INTEGER.packed(column.to_pylist()))
    found = _numbers(column.cast("int64"), absent=NO_INTEGER)
    if NO_INTEGER in found:
        found[(found == NO_INTEGER) & _given(column)] = SMALLEST
    return found


def _boxes(column: Any, findings: Findings) -> np.ndarray:
    """(N, 4) float64, NaN for none. Lists of another length than four are reported."""
    compute = pyarrow_for("Parquet").compute
    is_given = _given(column)
    lengths = np.where(is_given, _numbers(compute.list_value_length(column), absent=0), 0)
    for row in np.flatnonzero(is_given & (lengths != 4)).tolist():
        findings.error(row, problem.WRONG_BOX, f"bbox={shown(column[row].as_py())}, wanted {BOX.wanted}")
    fits = lengths == 4
    boxes = np.full((len(fits), 4), np.nan)
    values = _numbers(_floats(compute.list_flatten(column)), absent=np.nan)
    boxes[fits] = values[np.repeat(fits, lengths)].reshape(-1, 4)
    # A box that lacks one of its numbers is none.
    boxes[fits & np.isnan(boxes).all(axis=1)] = np.inf
    return boxes


def _numbers(column: Any, absent: float) -> np.ndarray:
    """(N,) the numbers or flags of a column, `absent` in place of a null."""
    # pyarrow's own ways import pandas where that is installed, which takes longer than a million rows.
    is_flag = pyarrow_for("Parquet").types.is_boolean(column.type)
    parts = [np.empty(0, column.type.to_pandas_dtype())]
    for chunk in column.chunks:
        data = chunk.buffers()[1] or b""
        held = slice(chunk.offset, chunk.offset + len(chunk))
        values = _bits(data, chunk) if is_flag else np.frombuffer(data, parts[0].dtype)[held]
        parts.append(np.where(_is_given(chunk), values, absent) if chunk.null_count else values)
    return np.concatenate(parts, dtype=parts[0].dtype)


def _given(column: Any) -> np.ndarray:
    """(N,) bool: which rows are no null."""
    return np.concatenate([np.empty(0, bool), *map(_is_given, column.chunks)])


def _is_given(chunk: Any) -> np.ndarray:
    return _bits(chunk.buffers()[0], chunk) if chunk.null_count else np.ones(len(chunk), dtype=bool)


def _bits(buffer: Any, chunk: Any) -> np.ndarray:
    """(n,) bool: the rows' bits, of their values or of which are no nulls."""
    bits = np.unpackbits(np.frombuffer(buffer, np.uint8), bitorder="little")
    return bits[chunk.offset : chunk.offset + len(chunk)].astype(bool)


def _strings(column: Any) -> Strings:
    """The texts of a column, empty in place of a null."""
    pyarrow = pyarrow_for("Parquet")
    is_plain = pyarrow.types.is_string(column.type)
    parts = []
    for chunk in (column if is_plain else column.cast(pyarrow.large_string())).chunks:
        _, offsets, data = chunk.buffers()
        held = slice(chunk.offset, chunk.offset + len(chunk) + 1)
        places = np.frombuffer(offsets or bytes(8), np.int32 if is_plain else np.int64)[held].astype(np.int64)
        text = np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)
        if chunk.null_count:
            # Whatever bytes stand where a null is, they are no text.
            parts.append(Strings(*gathered(text, places[:-1], np.diff(places) * _is_given(chunk))))
        else:
            text = text[places[0] : places[-1]]
            places -= places[0]
            parts.append(Strings(text, places))
    return Strings.joined(parts)


def _is_empty(column: Strings) -> np.ndarray:
    return np.diff(column.offsets) == 0
