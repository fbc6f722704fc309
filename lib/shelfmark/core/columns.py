"""Columns of the user's own: a whole number or a text for each row. Legend: N rows.

A row may lack a value: then the number is NO_NUMBER and the text is empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings

Column = np.ndarray | Strings
NO_NUMBER = int(np.iinfo(np.int64).min)
_LARGEST = 2**63 - 1


def column_of(values: Sequence[Any]) -> Column | None:
    """(N,) int64 or N texts; None if the values are of another kind, or of several.

    None and "" are no value. True and false are the texts `true` and `false`.
    """
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {int} and all(value is None or -_LARGEST <= value <= _LARGEST for value in values):
        return np.array([NO_NUMBER if value is None else value for value in values], dtype=np.int64)
    if kinds == {bool}:
        return Strings.of("" if value is None else str(value).lower() for value in values)
    if kinds == {str}:
        return Strings.of(value or "" for value in values)
    return None


def without_values(like: Column, num_rows: int) -> Column:
    """A column of the kind of `like` with no value in any row."""
    return Strings.of([""] * num_rows) if isinstance(like, Strings) else np.full(num_rows, NO_NUMBER)


def taken(columns: Mapping[str, Column], rows: np.ndarray) -> dict[str, Column]:
    """The columns at `rows` (n,) integers."""
    return {name: one.take(rows) if isinstance(one, Strings) else one[rows] for name, one in columns.items()}


def joined(parts: Sequence[tuple[Mapping[str, Column], int]]) -> dict[str, Column]:
    """The columns of all parts, one part behind the other. parts: columns, and the number of their rows.

    A part without a column of the others has no value there. UserError: a column has numbers here and texts there.
    """
    first: dict[str, Column] = {}
    for columns, _ in parts:
        for name, column in columns.items():
            if isinstance(first.setdefault(name, column), Strings) != isinstance(column, Strings):
                raise UserError(
                    f"the column {name!r} has whole numbers in some annotations and text in others. Write one of the"
                    " two everywhere."
                )
    return {
        name: _one(
            [columns[name] if name in columns else without_values(like, num_rows) for columns, num_rows in parts]
        )
        for name, like in first.items()
    }


def joined_boxes(parts: Sequence[tuple[np.ndarray | None, int]]) -> np.ndarray | None:
    """(N, 4) float32: the boxes of all parts, one behind the other, NaN for a part without. None where none has some.

    parts: boxes, and the number of their rows.
    """
    if all(boxes is None for boxes, _ in parts):
        return None
    return np.concatenate([np.full((num, 4), np.nan, np.float32) if boxes is None else boxes for boxes, num in parts])


def _one(parts: Sequence[Any]) -> Column:
    return Strings.joined(parts) if isinstance(parts[0], Strings) else np.concatenate(parts)
