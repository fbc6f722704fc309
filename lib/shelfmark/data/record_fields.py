"""The fields of annotation records, and how the values of each kind are kept in columns. Legend: N records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shelfmark.core.strings import Strings

NO_INTEGER = int(np.iinfo(np.int64).min)
"""Stands for a missing value in a column of integers."""
SMALLEST, LARGEST = NO_INTEGER + 1, -NO_INTEGER - 1
"""Stand for whatever is smaller or larger: it is out of any range, as they are."""

Packed = np.ndarray | Strings


@dataclass(frozen=True)
class Kind:
    """types: of Python, that a JSON value of this kind has. wanted: the words for it.

    packed: values, None for a missing one, to a column. absent: to a column of N missing values.
    """

    types: tuple[type, ...]
    wanted: str
    packed: Callable[[Sequence[Any]], Packed]
    absent: Callable[[int], Packed]


@dataclass(frozen=True)
class Field:
    """A field of a record. is_nullable: null is a value of its own, and not the same as no value."""

    name: str
    kind: Kind
    required: bool = False
    is_nullable: bool = False


def _integers(values: Sequence[int | None]) -> np.ndarray:
    try:
        found = np.array(values, dtype=np.int64)
        if NO_INTEGER not in found:
            return found
    except (TypeError, OverflowError):
        pass
    kept = (NO_INTEGER if value is None else max(SMALLEST, min(value, LARGEST)) for value in values)
    return np.fromiter(kept, np.int64, len(values))


def _texts(values: Sequence[str | None]) -> Strings:
    return Strings.of([value or "" for value in values])


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _flags(values: Sequence[bool | None]) -> np.ndarray:
    return np.array([bool(value) for value in values], dtype=bool)


def _boxes(values: Sequence[Sequence[float] | None]) -> np.ndarray:
    boxes = np.full((len(values), 4), np.nan)
    given = [index for index, value in enumerate(values) if value is not None]
    boxes[given] = np.array([values[index] for index in given], dtype=np.float64).reshape(-1, 4)
    return boxes


INTEGER = Kind((int,), "an integer", _integers, lambda number: np.full(number, NO_INTEGER))
TEXT = Kind((str,), "text", _texts, lambda number: Strings.of([""] * number))
NUMBER = Kind((int, float), "a number", _numbers, lambda number: np.full(number, np.nan))
FLAG = Kind((bool,), "true or false", _flags, lambda number: np.zeros(number, dtype=bool))
BOX = Kind((list,), "[x, y, width, height] in pixels", _boxes, lambda number: np.full((number, 4), np.nan))

CATEGORY = Field("category_id", INTEGER, required=True, is_nullable=True)
FPATH = Field("fpath", TEXT, required=True)
ROLE = Field("role", TEXT)
BBOX = Field("bbox", BOX)
ANNOTATION_FIELDS = (
    CATEGORY,
    ROLE,
    FPATH,
    BBOX,
    Field("image_id", TEXT),
    Field("source", TEXT),
    Field("confidence", NUMBER),
    Field("weight", NUMBER),
    Field("true_category_id", INTEGER),
    Field("is_query", FLAG),
    Field("is_gallery", FLAG),
)
TEST_FIELDS = (Field("image_id", TEXT, required=True), BBOX)
