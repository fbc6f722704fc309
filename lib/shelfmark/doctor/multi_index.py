"""All hashes within a few bits of another, without comparing each with each. Legend: Q queries.

The 64 bits are cut into m parts. Two hashes that differ in at most m - 2 bits agree in two parts at least, so they are
found under the bits of some pair of parts: one sorted table for each pair. What agrees there is compared in full.
Source: Norouzi et al., "Fast search in Hamming space with multi-index hashing", CVPR 2012; pairs of parts: Manku et
al., "Detecting near-duplicates for web crawling", WWW 2007.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

NUM_BITS = 64
_MOST_PARTS, _FEWEST_PARTS = 12, 6
_COMPARISONS = 4e9
"""About two minutes of one core."""
_AT_ONCE, _QUERIES_AT_ONCE = 1 << 21, 1 << 22


@dataclass(frozen=True)
class Plan:
    """num_parts: m. All pairs that differ in at most `promised` bits are found, and more of those that differ in up to
    `radius`."""

    num_parts: int
    radius: int

    @property
    def promised(self) -> int:
        return min(self.radius, self.num_parts - 2)

    @classmethod
    def of(cls, num_queries: int, num_codes: int, radius: int) -> Plan:
        """As many parts as cost no more than some minutes, if hashes are spread evenly; six at least."""
        for parts in range(_MOST_PARTS, _FEWEST_PARTS, -1):
            in_two = 2 * NUM_BITS / parts
            if comb(parts, 2) * num_queries * num_codes / 2**in_two <= _COMPARISONS:
                return cls(parts, radius)
        return cls(_FEWEST_PARTS, radius)


def near_codes(
    queries: np.ndarray, codes: np.ndarray, plan: Plan, crowd: int = 1 << 11, most: int = 128
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pairs (query, code, bits that differ) of queries (Q,) and codes (codes,) uint64, in arrays of bounded length.

    A pair comes once for each pair of parts in which it agrees. A query that agrees with more than `crowd` codes in two
    parts is compared with the first `crowd` of these codes only, and the `most` nearest are given. So thousands of
    saves of one picture are all compared with the same few, and not every two of them.
    """
    cuts = np.linspace(0, NUM_BITS, plan.num_parts + 1).round().astype(int)
    for first, second in combinations(range(plan.num_parts), 2):
        spans = (cuts[first], cuts[first + 1]), (cuts[second], cuts[second + 1])
        keys = _keys(codes, spans)
        order = np.argsort(keys, kind="stable").astype(np.int32 if len(codes) < 2**31 else np.int64)
        keys = keys[order]
        for at in range(0, len(queries), _QUERIES_AT_ONCE):
            some = queries[at : at + _QUERIES_AT_ONCE]
            wanted = _keys(some, spans)
            # Looked up in order, neighbours lie in the same lines of the cache.
            asked = np.argsort(wanted, kind="stable")
            wanted = wanted[asked]
            low = np.searchsorted(keys, wanted, side="left")
            number = np.minimum(np.searchsorted(keys, wanted, side="right") - low, crowd)
            for rows in _blocks(number):
                place, among = _spread(rows, low, number)
                query, code = asked[place], order[among]
                differ = bits_set(some[query] ^ codes[code])
                near = np.flatnonzero(differ <= plan.radius)
                near = near[_first_of_each(query[near], differ[near], most)]
                yield at + query[near], code[near].astype(np.int64), differ[near]


def _first_of_each(query: np.ndarray, differ: np.ndarray, most: int) -> np.ndarray | slice:
    """The rows of the `most` nearest codes of each query, of equal ones the first; all where no query has more. The
    rows of a query lie together."""
    begins = np.flatnonzero(np.r_[True, query[1:] != query[:-1]][: len(query)])
    numbers = np.diff(np.r_[begins, len(query)])
    if not len(numbers) or numbers.max() <= most:
        return slice(None)
    order = np.lexsort((differ, np.repeat(np.arange(len(numbers)), numbers)))
    rank = np.arange(len(query)) - np.repeat(begins, numbers)
    return np.sort(order[rank < most])


def bits_set(codes: np.ndarray) -> np.ndarray:
    """(codes,) uint8: how many bits of each code (codes,) uint64 are set."""
    if hasattr(np, "bitwise_count"):  # of numpy 2
        return np.bitwise_count(codes)
    halves = codes.view(np.uint8).reshape(len(codes), 8)
    return np.unpackbits(halves, axis=1).sum(axis=1, dtype=np.uint8)


def _keys(codes: np.ndarray, spans: tuple[tuple[int, int], ...]) -> np.ndarray:
    """(codes,) uint32: the bits of both spans."""
    found = np.zeros(len(codes), np.uint64)
    for low, high in spans:
        width = np.uint64(high - low)
        found = (found << width) | ((codes >> np.uint64(low)) & ((np.uint64(1) << width) - np.uint64(1)))
    return found.astype(np.uint32)


def _blocks(number: np.ndarray) -> Iterator[slice]:
    """Slices of the queries, each with about as many pairs as are compared at once. number: (Q,) pairs of each."""
    total = np.cumsum(number)
    begin = 0
    while begin < len(number):
        before = total[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(total, before + _AT_ONCE, side="right")))
        if total[end - 1] > before:
            yield slice(begin, end)
        begin = end


def _spread(rows: slice, low: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places among the sorted queries, and among the sorted codes, of every pair of a slice of queries."""
    many = number[rows]
    query = np.repeat(np.arange(rows.start, rows.stop), many)
    ends = np.cumsum(many)
    within = np.arange(ends[-1]) - np.repeat(ends - many, many)
    return query, np.repeat(low[rows], many) + within
