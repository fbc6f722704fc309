"""Where strings stand among millions of others. Legend: N items that are looked for."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from shelfmark.core.byte_runs import same_runs
from shelfmark.core.strings import Strings

_AT_ONCE = 1 << 16


class StringPlaces:
    """The places of strings. What is found by its hash is compared byte by byte."""

    def __init__(self, known: Strings) -> None:
        self._known = known

    def of(self, wanted: Strings) -> np.ndarray:
        """(N,) int64: a place of each string among the known ones, -1 where it is none of them."""
        begin = self._run_of(wanted)
        if begin is not None:
            return np.arange(begin, begin + len(wanted))
        hashes, order = self._sorted
        places = np.full(len(wanted), -1, np.int64)
        if not len(hashes):
            return places
        looked_for = wanted.hashes()
        for start in range(0, len(wanted), _AT_ONCE):
            rows = np.arange(start, min(start + _AT_ONCE, len(wanted)))
            near = np.minimum(np.searchsorted(hashes, looked_for[rows]), len(hashes) - 1)
            has_hash = hashes[near] == looked_for[rows]
            found = order[near]
            same = has_hash.copy()
            same[has_hash] = _are_equal(wanted, rows[has_hash], self._known, found[has_hash])
            places[rows[same]] = found[same]
            for row in rows[has_hash & ~same].tolist():
                # Another string has this hash: once in millions of data sets.
                there = np.flatnonzero(self._known.equal_to(wanted[row]))
                places[row] = there[0] if len(there) else -1
        return places

    def _run_of(self, wanted: Strings) -> int | None:
        """Where the strings stand one behind the other, in their order, as most often they do; None where they do
        not."""
        known, number = self._known, len(wanted)
        first = np.flatnonzero(known.equal_to(wanted[0])) if number else np.empty(0, np.int64)
        if not len(first) or first[0] + number > len(known):
            return None
        offsets = known.offsets[first[0] : first[0] + number + 1]
        is_run = np.array_equal(offsets - offsets[0], wanted.offsets - wanted.offsets[0]) and np.array_equal(
            known.data[offsets[0] : offsets[-1]], wanted.data[wanted.offsets[0] : wanted.offsets[-1]]
        )
        return int(first[0]) if is_run else None

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """The hashes (known,) in rising order, and the place of each."""
        hashes = self._known.hashes()
        order = np.argsort(hashes, kind="stable")
        return hashes[order], order


def _are_equal(some: Strings, rows: np.ndarray, others: Strings, places: np.ndarray) -> np.ndarray:
    """(n,) bool: whether string `rows[i]` of `some` is string `places[i]` of the others."""
    lengths = some.offsets[rows + 1] - some.offsets[rows]
    same = lengths == others.offsets[places + 1] - others.offsets[places]
    same[same] = same_runs(
        np.ascontiguousarray(some.data),
        some.offsets[rows[same]],
        lengths[same],
        np.ascontiguousarray(others.data),
        others.offsets[places[same]],
    )
    return same
