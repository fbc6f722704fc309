"""Pictures that show the same photograph: saved anew, resized, cropped, turned, recoloured. Legend: N pictures, n
pictures.

Candidates come from the hashes, and from the features of a network where there are some; the thumbnails decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from shelfmark.doctor.alignment import laid
from shelfmark.doctor.hash_codes import (
    MIRRORED,
    STRAIGHT,
    TURNS,
    WINDOWS,
    turned,
    turned_codes,
    whole_codes,
    window_codes,
)
from shelfmark.doctor.multi_index import Plan, near_codes

RADII = ((20_000, 12), (200_000, 10))
RADIUS_OF_MANY = 8
"""(number of pictures, bits in which the hashes of two candidates may differ) of sets up to that number; behind them,
the bits of larger sets. A large set has many candidates already at few bits."""

LEAST_CONTRAST = 6.0
"""Standard deviation of the brightness, of 0..128. The hash of a picture with less is noise."""

_BLOCK = 8192
_LOOKED_UP_AT_ONCE = 1_000_000
_KEPT_PAIRS = 1 << 22
_CONFIRMED_AT_ONCE = 1 << 14
_WAY_BITS, _DISTANCE_BITS = 8, 4
_MOST_OF_ONE = 32
"""Of a picture, that many candidates are compared: of a thousand saves of one picture, not each with each."""
_OTHER_TURNS = (2, 3, 4, 5, 7)
"""All but STRAIGHT and MIRRORED; and of the two quarter turns one, because each undoes the other."""

Thumbs = Callable[[np.ndarray], np.ndarray]
"""(n,) pictures -> (n, 32, 32, 3) uint8."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs, each once. first, second: (pairs,) int64 pictures, first < second.

    turn: (pairs,) uint8, of `hash_codes.TURNS`. is_recoloured, is_covered: (pairs,) bool. window: (pairs,) float32, the
    smaller side of the part that the two have in common, 1 for the whole.
    """

    first: np.ndarray
    second: np.ndarray
    turn: np.ndarray
    is_recoloured: np.ndarray
    is_covered: np.ndarray
    window: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def take(self, rows: np.ndarray) -> Pairs:
        return Pairs(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @classmethod
    def joined(cls, parts: list[Pairs]) -> Pairs:
        """The pairs of all parts; of a pair that stands in several, the first."""
        every = [cls.none(), *parts]
        whole = cls(*(np.concatenate([getattr(part, name) for part in every]) for name in cls.__dataclass_fields__))
        order = np.lexsort((whole.second, whole.first))
        keys = np.stack([whole.first[order], whole.second[order]])
        is_new = np.r_[True, (np.diff(keys) != 0).any(0)][: len(order)]
        return whole.take(order[is_new])

    @classmethod
    def none(cls) -> Pairs:
        nobody = np.empty(0, np.int64)
        nothing = np.empty(0, bool)
        return cls(nobody, nobody, np.empty(0, np.uint8), nothing, nothing, np.empty(0, np.float32))


class Candidates(NamedTuple):
    """part, whole: (pairs,) int64: pictures, of which the one may show a window (pairs, 4) of the other.

    turn: (pairs,) uint8 of `hash_codes.TURNS`, after which the part does.
    """

    part: np.ndarray
    whole: np.ndarray
    turn: np.ndarray
    windows: np.ndarray


def copies_by_hash(pictures: np.ndarray, thumbs: Thumbs, look: Callable[[], None] = lambda: None) -> Pairs:
    """The near copies among `pictures` (n,) int64, that their hashes find. look: called now and then.

    Memory: 50 bytes a picture and, for a million pictures at a time, the tables of the search.
    """
    found = [_of_equal_hashes(pictures, thumbs, look)]
    pictures = np.setdiff1d(pictures, found[0].second)
    plan = plan_of(len(pictures))
    for candidates in hash_candidates(pictures, thumbs, plan, look):
        found.append(confirmed(candidates, thumbs))
        look()
    return Pairs.joined(found)


def _of_equal_hashes(pictures: np.ndarray, thumbs: Thumbs, look: Callable[[], None]) -> Pairs:
    """Where more than _MOST_OF_ONE pictures have one hash: pairs of the first and each of its sure copies. The first
    stands for these in the search, so thousands of saves of one picture are not compared each with each."""
    codes = np.concatenate([whole_codes(thumbs(part)) for part in _parts(pictures)] or [np.empty(0, np.uint64)])
    _, first, inverse, numbers = np.unique(codes, return_index=True, return_inverse=True, return_counts=True)
    others = np.flatnonzero((numbers > _MOST_OF_ONE)[inverse] & (first[inverse] != np.arange(len(codes))))
    found = []
    for at in range(0, len(others), _CONFIRMED_AT_ONCE):
        some = others[at : at + _CONFIRMED_AT_ONCE]
        windows = np.tile((0.0, 0.0, 1.0, 1.0), (len(some), 1))
        straight = np.zeros(len(some), np.uint8)
        pairs = confirmed(Candidates(pictures[some], pictures[first[inverse[some]]], straight, windows), thumbs)
        found.append(pairs.take(~pairs.is_recoloured & ~pairs.is_covered))
        look()
    return Pairs.joined(found)


def plan_of(num_pictures: int) -> Plan:
    """How the hashes of so many pictures are searched."""
    at_once = min(num_pictures, _LOOKED_UP_AT_ONCE)
    radius = next((bits for most, bits in RADII if num_pictures <= most), RADIUS_OF_MANY)
    return Plan.of(2 * num_pictures, at_once * len(WINDOWS), radius)


def hash_candidates(
    pictures: np.ndarray, thumbs: Thumbs, plan: Plan, look: Callable[[], None] = lambda: None
) -> Iterator[Candidates]:
    """Candidates, block by block of the pictures that are searched in. A pair may come twice, once each way round."""
    whole = np.concatenate([whole_codes(thumbs(part)) for part in _parts(pictures)] or [np.empty(0, np.uint64)])
    for begin in range(0, len(pictures), _LOOKED_UP_AT_ONCE):
        searched = pictures[begin : begin + _LOOKED_UP_AT_ONCE]
        windows = np.concatenate([window_codes(thumbs(part)) for part in _parts(searched)])
        best = _BestPairs(len(pictures))
        for turns, codes in _searches(windows):
            queries = np.concatenate([turned_codes(whole, turn) for turn in turns])
            for query, code, differ in near_codes(queries, codes.ravel(), plan):
                place, part = np.divmod(query, len(pictures))
                within, window = np.divmod(code, codes.shape[1])
                best.add(part, begin + within, differ, window * len(TURNS) + np.array(turns)[place])
                look()
        yield from best.candidates(pictures)


def _searches(windows: np.ndarray) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Turns of all pictures, and the hashes (n, windows) that they are looked up among. A copy that was cropped is
    found as it is, or mirrored; one that was turned otherwise, a rare kind, as a whole."""
    yield (STRAIGHT, MIRRORED), windows
    yield from (((turn,), windows[:, :1]) for turn in _OTHER_TURNS)


def confirmed(candidates: Candidates, thumbs: Thumbs) -> Pairs:
    """The candidates whose thumbnails agree."""
    parts = turned(thumbs(candidates.part), candidates.turn)
    found = laid(thumbs(candidates.whole), parts, candidates.windows)
    is_copy = found.is_copy
    ends = np.sort(np.stack([candidates.part[is_copy], candidates.whole[is_copy]]), axis=0)
    smaller = np.minimum(1, found.windows[is_copy, 2:].min(1)) if is_copy.any() else np.empty(0, np.float32)
    changed = found.is_recoloured[is_copy], found.is_covered[is_copy]
    return Pairs(ends[0], ends[1], candidates.turn[is_copy], *changed, smaller)


def _parts(pictures: np.ndarray) -> list[np.ndarray]:
    return [pictures[at : at + _BLOCK] for at in range(0, len(pictures), _BLOCK)]


class _BestPairs:
    """Pairs with the way, window and turn, in which their hashes differ least. They are kept as one number each, pair
    first, then distance, so that sorting finds the best; at most some millions are waiting to be sorted."""

    def __init__(self, num_pictures: int) -> None:
        self.num_pictures = num_pictures
        self._sorted = np.empty(0, np.int64)
        self._waiting: list[np.ndarray] = []
        self._num_waiting = 0

    def add(self, part: np.ndarray, whole: np.ndarray, differ: np.ndarray, way: np.ndarray) -> None:
        other = part != whole
        pair = part[other] * self.num_pictures + whole[other]
        packed = (pair << _DISTANCE_BITS | differ[other].astype(np.int64)) << _WAY_BITS | way[other]
        self._waiting.append(packed)
        self._num_waiting += len(packed)
        if self._num_waiting > _KEPT_PAIRS:
            self._sort()

    def candidates(self, pictures: np.ndarray) -> Iterator[Candidates]:
        """Those of both directions, in blocks."""
        self._sort()
        spans = np.array([(top, left, bottom - top, right - left) for (top, bottom), (left, right) in WINDOWS])
        for at in range(0, len(self._sorted), _CONFIRMED_AT_ONCE):
            packed = self._sorted[at : at + _CONFIRMED_AT_ONCE]
            part, whole = np.divmod(packed >> (_DISTANCE_BITS + _WAY_BITS), self.num_pictures)
            window, turn = np.divmod(packed & ((1 << _WAY_BITS) - 1), len(TURNS))
            yield Candidates(pictures[part], pictures[whole], turn.astype(np.uint8), spans[window])

    def _sort(self) -> None:
        every = np.sort(np.concatenate([self._sorted, *self._waiting]))
        pair = every >> (_DISTANCE_BITS + _WAY_BITS)
        every = every[np.r_[True, pair[1:] != pair[:-1]][: len(every)]]
        self._sorted = self._nearest(every)
        self._waiting, self._num_waiting = [], 0

    def _nearest(self, packed: np.ndarray) -> np.ndarray:
        """At most _MOST_OF_ONE pairs of each picture: those with its nearest pictures, and as many with the first ones.

        All pictures of a crowd are near the same first ones, so they still become one group. packed: sorted, each pair
        once."""
        part = (packed >> (_DISTANCE_BITS + _WAY_BITS)) // self.num_pictures
        begins = np.flatnonzero(np.r_[True, part[1:] != part[:-1]][: len(part)])
        numbers = np.diff(np.r_[begins, len(part)])
        if not len(numbers) or numbers.max() <= _MOST_OF_ONE:
            return packed
        rank = np.arange(len(packed)) - np.repeat(begins, numbers)
        distance = packed >> _WAY_BITS & ((1 << _DISTANCE_BITS) - 1)
        is_kept = rank < _MOST_OF_ONE // 2
        is_kept[np.lexsort((distance, part))[is_kept]] = True
        return packed[is_kept | (np.repeat(numbers, numbers) <= _MOST_OF_ONE)]
