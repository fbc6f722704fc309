"""How many scores of a tile rank before some of them. Legend: Q queries, G gallery, R positives.

Sums of masks are taken eight at a time, as the bytes of a word: numpy's own sum of a mask takes ten times as long.
"""

from __future__ import annotations

import numpy as np

# Rows at a time: they stay in a core's cache over all marks, and a byte counts as many.
_ROWS = 128


def ahead_in_rows(scores: np.ndarray, marks: np.ndarray, columns: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(Q, R) int64: how many items of a row have a greater score than a mark, or the same and a lower number.

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
    """(G, R) int64: the same as `ahead_in_rows` for the columns, without a turned copy of the tile.

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
