"""Conditions on the images of an index: `group=tea`, `year>=2020`. Legend: N rows, n rows of them.

A condition is decided on the records of the index, whatever store has the vectors. Several conditions hold together,
but of several `COLUMN=VALUE` of one column one is enough. An image without a value in a column meets no condition on
it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shelfmark.core.columns import NO_NUMBER, Column
from shelfmark.core.errors import UserError, did_you_mean
from shelfmark.core.strings import Strings
from shelfmark.retrieval.index import Records

CATEGORY, GROUP = "category_id", "group"
_COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_CONDITION = re.compile(r"\s*([^=<>!]*[^=<>!\s])\s*(!=|<=|>=|=|<|>)(.*)", re.DOTALL)


@dataclass(frozen=True)
class Condition:
    """compared: one of = != <= >= < >. value: as written."""

    column: str
    compared: str
    value: str

    @classmethod
    def of(cls, text: str) -> Condition:
        found = _CONDITION.fullmatch(text)
        if found is None:
            raise UserError(
                f"--where {text!r} is no condition. Write COLUMN=VALUE, or != < <= > >= in place of =, in quotes, as"
                " in --where 'year>=2020'."
            )
        return cls(found[1], found[2], found[3])

    def __str__(self) -> str:
        return f"{self.column}{self.compared}{self.value}"


def rows_where(records: Records, texts: Sequence[str]) -> np.ndarray | None:
    """(n,) int64, rising: the rows that meet all conditions; None without a condition, and of an index without images.

    UserError: a text is no condition, names no column, compares text with < or a number with text, or no row is left.
    """
    if not texts or not len(records):
        return None
    stays = np.ones(len(records), dtype=bool)
    either: dict[str, np.ndarray] = {}
    for condition in map(Condition.of, texts):
        meets = _meets(records, condition)
        if condition.compared == "=":
            either[condition.column] = either.get(condition.column, False) | meets
        else:
            stays &= meets
    for meets in either.values():
        stays &= meets
    if not stays.any():
        raise UserError(f"no image of the index fits --where {' --where '.join(repr(text) for text in texts)}.")
    return np.flatnonzero(stays)


def column_names(records: Records) -> list[str]:
    """What a condition may name."""
    return [CATEGORY, *([GROUP] if records.groups else []), *sorted(records.columns)]


def _meets(records: Records, condition: Condition) -> np.ndarray:
    if condition.column == CATEGORY:
        return _number_meets(np.where(records.labels < 0, NO_NUMBER, records.labels), condition)
    if condition.column == GROUP and records.groups:
        labels = [label for label, name in records.groups.items() if name == condition.value]
        named = [label for label, name in records.groups.items() if name]
        return _text_meets(np.isin(records.labels, labels), np.isin(records.labels, named), condition)
    column: Column | None = records.columns.get(condition.column)
    if column is None:
        names = column_names(records)
        hint = did_you_mean(condition.column, names)
        meant = f" Did you mean {hint!r}?" if hint else ""
        raise UserError(
            f"--where {str(condition)!r}: the index has no column {condition.column!r}. It has: {', '.join(names)}."
            f"{meant}"
        )
    if isinstance(column, Strings):
        return _text_meets(column.equal_to(condition.value), np.diff(column.offsets) > 0, condition)
    return _number_meets(column, condition)


def _text_meets(is_equal: np.ndarray, has_value: np.ndarray, condition: Condition) -> np.ndarray:
    if condition.compared not in ("=", "!="):
        raise UserError(f"--where {str(condition)!r}: {condition.column} is text, which is compared by = or !=.")
    return has_value & (is_equal if condition.compared == "=" else ~is_equal)


def _number_meets(numbers: np.ndarray, condition: Condition) -> np.ndarray:
    try:
        value = int(condition.value)
    except ValueError:
        raise UserError(
            f"--where {str(condition)!r}: {condition.column} is a whole number, and {condition.value!r} is none."
        ) from None
    # Beyond 64 bits no value is equal, and all are on one side.
    value = max(min(value, 2**63 - 1), NO_NUMBER)
    return (numbers != NO_NUMBER) & _COMPARED[condition.compared](numbers, value)
