"""Counts the scores of a tile that rank before given scores. Legend: Q queries, G gallery, R positives.

A query's marks, the scores to be ranked, rise: what is below one mark is below all later ones. Most scores are below
the first, so one comparison of the whole tile sets them aside, and the later marks are compared with the few others
alone. Where the others are many, the whole tile is compared with the next mark too.

Masks are summed eight bytes at a time, as words: numpy's own sum of a mask takes ten times as long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Picking a score out and ranking it takes as long as comparing about twelve scores of a whole tile.
_FEW = 1 / 12
_MOST_OF_A_BYTE = 255


@dataclass(frozen=True)
class Marks:
    """scores: (R, n) to be ranked, rising for each of n queries; inf for none. items: (R, n) the numbers of theirs.

    Fastest where a row of each lies together in memory.
    """

    scores: np.ndarray
    items: np.ndarray


def ahead_in_rows(scores: np.ndarray, marks: Marks, items: np.ndarray, memory: np.ndarray) -> np.ndarray:
    """(R, Q) int64: the items of a row with a greater score than a mark, or with the same score and a lower number.

    scores: (Q, G) of a tile, contiguous, G a multiple of 8. marks: of the Q rows. items: (G,) the columns' numbers.
    memory: contiguous bool of G columns and at least Q rows, which is overwritten.
    """
    return _Count(scores, marks, items, memory[: len(scores)], axis=1).ahead()


def ahead_in_columns(scores: np.ndarray, marks: Marks, items: np.ndarray, memory: np.ndarray) -> np.ndarray:
    """(R, G) int64: as `ahead_in_rows`, for queries that are columns, without a transposed copy of the tile.

    marks: of the G columns. items: (Q,) the rows' numbers.
    """
    return _Count(scores, marks, items, memory[: len(scores)], axis=0).ahead()


@dataclass(frozen=True)
class _Count:
    """axis: along which the items of a query stand, as the axis of a sum. mask: memory of the scores' shape."""

    scores: np.ndarray
    marks: Marks
    items: np.ndarray
    mask: np.ndarray
    axis: int

    def ahead(self) -> np.ndarray:
        # Words of a mask are eight bytes.
        assert self.scores.shape[1] % 8 == 0, self.scores.shape
        counts = np.zeros(self.marks.scores.shape, dtype=np.int64)
        items = np.expand_dims(self.items, 1 - self.axis)
        for level in range(len(counts)):
            value = np.expand_dims(self.marks.scores[level], self.axis)
            counts[level] = _sums(np.greater_equal(self.scores, value, out=self.mask), self.axis)
            if counts[level].sum() <= _FEW * self.mask.size:
                counts[level:] = self._ahead_of_the_few(level)
                break
            if np.equal(self.scores, value, out=self.mask).any():
                is_behind = items >= np.expand_dims(self.marks.items[level], self.axis)
                counts[level] -= _sums(np.logical_and(self.mask, is_behind, out=self.mask), self.axis)
        return counts

    def _ahead_of_the_few(self, level: int) -> np.ndarray:
        """The counts from this level on, from the scores in the mask: those that reach this level's marks."""
        counts = np.zeros(self.marks.scores[level:].shape, dtype=np.int64)
        at, width = _places(self.mask), self.mask.shape[1]
        values, rows = self.scores.reshape(-1)[at], at // width
        # Of a product and a difference, which take less time than a remainder.
        columns = at - width * rows
        queries, items = (rows, columns) if self.axis == 1 else (columns, rows)
        for count, scores, numbers in zip(counts, self.marks.scores[level:], self.marks.items[level:]):
            marks = scores[queries]
            kept = np.flatnonzero(values >= marks)
            if not len(kept):
                break
            values, marks, queries, items = values[kept], marks[kept], queries[kept], items[kept]
            count += np.bincount(queries, minlength=len(count))
            same = np.flatnonzero(values == marks)
            tied = queries[same]
            is_behind = self.items[items[same]] >= numbers[tied]
            count -= np.bincount(tied[is_behind], minlength=len(count))
        return counts


def _places(mask: np.ndarray) -> np.ndarray:
    """(n,) places in the flat mask where it is true, for a mask that seldom is. It is read in words of eight bytes, and
    only words that are not 0 are read byte by byte."""
    words = mask.reshape(-1).view(np.uint64)
    full = np.flatnonzero(words != 0)
    inside = np.flatnonzero(words[full].view(bool))
    return 8 * full[inside >> 3] + (inside & 7)


def _sums(mask: np.ndarray, axis: int) -> np.ndarray:
    """(n,) int64 sums of a mask along an axis. Eight bytes are added as one word, so few words at a time that no byte
    exceeds 255."""
    words = mask.view(np.uint64)
    parts = np.split(words, range(_MOST_OF_A_BYTE, words.shape[axis], _MOST_OF_A_BYTE), axis=axis)
    of_bytes = np.stack([part.sum(axis=axis).view(np.uint8) for part in parts]).sum(axis=0, dtype=np.int64)
    return of_bytes if axis == 0 else of_bytes.reshape(-1, 8).sum(axis=1)
