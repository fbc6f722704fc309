"""Runs of bytes in one array: gathered, hashed and compared without an object for each. Legend: N items.

A run is `data[begin : begin + length]` of data (bytes,) uint8, C-contiguous. Runs may overlap and stand in any order.
begins, lengths: (N,) int64, of each run.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

_RUNS_AT_ONCE = 1 << 16
_LONG = 4096
_FEW = 4
_WORD = np.dtype("<u8")
_MASKS = np.array([(1 << 8 * number) - 1 for number in range(9)], dtype=np.uint64)
# Odd numbers with bits in no order; which ones does not matter.
_FIRST, _EACH, _LAST = (np.uint64(one) for one in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93))


def gathered(
    data: np.ndarray, begins: np.ndarray, lengths: np.ndarray, behind: bytes = b""
) -> tuple[np.ndarray, np.ndarray]:
    """The runs end to end, and (N + 1,) int64 where each begins in there. behind: no byte, or one that stands behind
    each run."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths + len(behind), out=offsets[1:])
    found = np.empty(int(offsets[-1]), dtype=np.uint8)
    for start in range(0, len(lengths), _RUNS_AT_ONCE):
        part = slice(start, start + _RUNS_AT_ONCE)
        _copy(data, begins[part], lengths[part], found, offsets[:-1][part])
    if behind:
        found[offsets[1:] - 1] = behind[0]
    return found, offsets


def run_hashes(data: np.ndarray, begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(N,) int64: equal runs have equal numbers, in this process; different runs nearly always differ."""
    found = np.empty(len(lengths), dtype=np.uint64)
    for start in range(0, len(lengths), _RUNS_AT_ONCE):
        part = slice(start, start + _RUNS_AT_ONCE)
        hashes = lengths[part].astype(np.uint64) * _FIRST
        for rows, words in _words(data, begins[part], lengths[part]):
            mixed = (hashes[rows] ^ words) * _EACH
            hashes[rows] = mixed ^ (mixed >> np.uint64(29))
        hashes *= _LAST
        found[part] = hashes ^ (hashes >> np.uint64(32))
    for row in np.flatnonzero(lengths > _LONG).tolist():
        found[row] = hash(data[begins[row] : begins[row] + lengths[row]].tobytes()) & 0xFFFF_FFFF_FFFF_FFFF
    return found.view(np.int64)


def same_runs(
    data: np.ndarray, begins: np.ndarray, lengths: np.ndarray, others: np.ndarray, other_begins: np.ndarray
) -> np.ndarray:
    """(N,) bool: whether each run has the bytes of the one of its length at `other_begins` (N,) of `others`, which is
    as `data`."""
    same = np.ones(len(lengths), dtype=bool)
    for start in range(0, len(lengths), _RUNS_AT_ONCE):
        part = slice(start, start + _RUNS_AT_ONCE)
        ours = _words(data, begins[part], lengths[part])
        theirs = _words(others, other_begins[part], lengths[part])
        for (rows, one), (_, other) in zip(ours, theirs):
            same[part][rows] &= one == other
    for row in np.flatnonzero(lengths > _LONG).tolist():
        one, other = data[begins[row] :], others[other_begins[row] :]
        same[row] = np.array_equal(one[: lengths[row]], other[: lengths[row]])
    return same


def run_groups(data: np.ndarray, begins: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) int64, the runs so that equal ones stand together, rising among themselves; and (groups + 1,) where in there
    each group begins. Groups follow each other in no order that means anything."""
    row_bits = np.uint64(max(len(lengths) - 1, 1).bit_length())
    # Sorting numbers of which a row is a part is twice as fast as sorting rows by their numbers.
    hashes = run_hashes(data, begins, lengths).view(np.uint64) >> row_bits
    keys = np.sort((hashes << row_bits) | np.arange(len(lengths), dtype=np.uint64))
    order = (keys & ((np.uint64(1) << row_bits) - np.uint64(1))).astype(np.int64)
    limits = _limits(keys >> row_bits)
    first = np.empty_like(order)
    first[order] = np.repeat(order[limits[:-1]], np.diff(limits))
    if (lengths == lengths[first]).all() and same_runs(data, begins, lengths, data, begins[first]).all():
        return order, limits
    # Two runs with one hash: seldom, or by somebody's will.
    numbers: dict[bytes, int] = {}
    places = zip(begins.tolist(), (begins + lengths).tolist())
    of = (numbers.setdefault(data[begin:end].tobytes(), len(numbers)) for begin, end in places)
    return _groups_of(np.fromiter(of, np.int64, len(lengths)))


def _groups_of(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(keys, kind="stable")
    return order, _limits(keys[order])


def _limits(in_order: np.ndarray) -> np.ndarray:
    begins = np.flatnonzero(in_order[1:] != in_order[:-1]) + 1
    return np.concatenate([np.zeros(min(len(in_order), 1), np.int64), begins, [len(in_order)]])


def _copy(data: np.ndarray, begins: np.ndarray, lengths: np.ndarray, into: np.ndarray, places: np.ndarray) -> None:
    """Copies the runs to `places` of `into`: all of one length at once, as items of that many bytes."""
    order, limits = _groups_of(lengths.astype(np.uint16) if lengths.max() < 1 << 16 else lengths)
    for begin, end in pairwise(limits.tolist()):
        rows = order[begin:end]
        length = int(lengths[rows[0]])
        if length and len(rows) > _FEW:
            _items(into, length)[places[rows]] = _items(data, length)[begins[rows]]
            continue
        for source, target in zip(begins[rows].tolist(), places[rows].tolist()):
            into[target : target + length] = data[source : source + length]


def _items(data: np.ndarray, length: int) -> np.ndarray:
    """Items of `length` bytes, one from each byte on that has as many behind it. They share the memory of `data`."""
    return np.ndarray((len(data) - length + 1,), f"V{length}", data, strides=(1,))


def _words(
    data: np.ndarray, begins: np.ndarray, lengths: np.ndarray
) -> Iterator[tuple[slice | np.ndarray, np.ndarray]]:
    """The runs' bytes by eight, as numbers, with 0 for what a run lacks: which runs have some, and the numbers. Runs of
    more than `_LONG` bytes have none."""
    data = data if len(data) >= _WORD.itemsize else np.pad(data, (0, _WORD.itemsize - len(data)))
    words = np.ndarray((len(data) - _WORD.itemsize + 1,), _WORD, data, strides=(1,))
    rows: slice | np.ndarray = slice(None)
    read = 0
    while True:
        has_more = (lengths[rows] > read) & (lengths[rows] <= _LONG)
        if not has_more.all():
            rows = np.arange(len(lengths))[rows][has_more]
            if not len(rows):
                return
        elif not len(has_more):
            return
        masks = _MASKS[np.minimum(lengths[rows] - read, _WORD.itemsize)]
        yield rows, _words_at(words, begins[rows] + read) & masks
        read += _WORD.itemsize


def _words_at(words: np.ndarray, places: np.ndarray) -> np.ndarray:
    last = len(words) - 1
    if places.max() <= last:
        return words[places].astype(np.uint64, copy=False)
    # The last words begin earlier, so that they end with the data.
    kept = np.minimum(places, last)
    return words[kept].astype(np.uint64, copy=False) >> (8 * (places - kept)).astype(np.uint64)
