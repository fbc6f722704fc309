"""Counts the scores of a tile that rank before given scores. Legend: Q queries, G gallery, R positives.

Masks are summed eight bytes at a time, as words: numpy's own sum of a mask takes ten times as long.
"""

from __future__ import annotations

import numpy as np

# The rows of a block. They stay in a core's cache for all marks, and a byte can count them.
_ROWS = 128


def ahead_in_rows(scores: np.ndarray, marks: np.ndarray, columns: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(Q, R) int64: the items of a row with a greater score than a mark, or with the same score and a lower number.

    scores: (Q, G) of the tile, G a multiple of 8 and at most 2040. marks: (Q, R) scores of positives.
    columns: (G,) the items' numbers. places: (Q, R) the marks' numbers.
    """
    assert scores.shape[1] % 8 == 0, scores.shape
    assert scores.shape[1] < 8 * 256, scores.shape
    sums = np.zeros(marks.shape, dtype=np.uint64)
    memory = np.empty((_ROWS, scores.shape[1]), dtype=bool)
    for start in range(0, len(scores), _ROWS):
        some = slice(start, start + _ROWS)
        block = scores[some]
        mask = memory[: len(block)]
        for mark in range(marks.shape[1]):
            value, place = marks[some, mark, None], places[some, mark, None]
            sums[some, mark] = _words(np.greater(block, value, out=mask)).sum(axis=1)
            if np.equal(block, value, out=mask).any():
                sums[some, mark] += _words(np.logical_and(mask, columns < place, out=mask)).sum(axis=1)
    return sums.view(np.uint8).reshape(*marks.shape, 8).sum(axis=2, dtype=np.int64)


def ahead_in_columns(scores: np.ndarray, marks: np.ndarray, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(G, R) int64: as `ahead_in_rows`, for the columns, without a transposed copy of the tile.

    scores: (Q, G), G a multiple of 8. marks: (G, R) scores. rows: (Q,) the items' numbers. places: (G, R) the marks'
    numbers.
    """
    assert scores.shape[1] % 8 == 0, scores.shape
    counts = np.zeros(marks.shape[::-1], dtype=np.int64)
    memory = np.empty((_ROWS, scores.shape[1]), dtype=bool)
    values, numbers = np.ascontiguousarray(marks.T), np.ascontiguousarray(places.T)
    for start in range(0, len(scores), _ROWS):
        some = slice(start, start + _ROWS)
        block = scores[some]
        mask = memory[: len(block)]
        for count, value, place in zip(counts, values, numbers):
            count += _words(np.greater(block, value, out=mask)).sum(axis=0).view(np.uint8)
            if np.equal(block, value, out=mask).any():
                count += _words(np.logical_and(mask, rows[some, None] < place, out=mask)).sum(axis=0).view(np.uint8)
    return counts.T


def _words(mask: np.ndarray) -> np.ndarray:
    return mask.view(np.uint64)
