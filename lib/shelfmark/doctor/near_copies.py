"""Pictures that show the same photograph: saved anew, resized, cropped, mirrored, recoloured. Legend: N pictures, n
pictures.

Candidates come from the hashes, and from the features of a network where there are some; the thumbnails decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from shelfmark.doctor.alignment import laid
from shelfmark.doctor.hash_codes import WINDOWS, whole_codes, window_codes
from shelfmark.doctor.multi_index import Plan, near_codes

MANY = 200_000
RADIUS, RADIUS_OF_MANY = 10, 8
"""Bits in which the hashes of candidates may differ; fewer from MANY pictures on, where candidates are many anyway."""

LEAST_CONTRAST = 6.0
"""Standard deviation of the brightness, of 0..128. The hash of a picture with less is noise."""

_BLOCK = 8192
_LOOKED_UP_AT_ONCE = 1_000_000
_KEPT_PAIRS = 1 << 22
_CONFIRMED_AT_ONCE = 1 << 14
_WINDOW_BITS, _DISTANCE_BITS = 5, 4

Thumbs = Callable[[np.ndarray], np.ndarray]
"""(n,) pictures -> (n, 32, 32, 3) uint8."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs, each once. first, second: (pairs,) int64 pictures, first < second.

    is_mirrored, is_recoloured: (pairs,) bool. window: (pairs,) float32, the smaller side of the part that the two have
    in common, 1 for the whole.
    """

    first: np.ndarray
    second: np.ndarray
    is_mirrored: np.ndarray
    is_recoloured: np.ndarray
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
        return cls(nobody, nobody, np.empty(0, bool), np.empty(0, bool), np.empty(0, np.float32))


class Candidates(NamedTuple):
    """part, whole: (pairs,) int64: pictures, of which the one may show a window (pairs, 4) of the other.

    is_mirrored: (pairs,) bool, whether the part is the mirror image.
    """

    part: np.ndarray
    whole: np.ndarray
    is_mirrored: np.ndarray
    windows: np.ndarray


def copies_by_hash(pictures: np.ndarray, thumbs: Thumbs, look: Callable[[], None] = lambda: None) -> Pairs:
    """The near copies among `pictures` (n,) int64, that their hashes find. look: called now and then.

    Memory: 150 bytes a picture and, for a million pictures at a time, the tables of the search.
    """
    plan = plan_of(len(pictures))
    found = []
    for candidates in hash_candidates(pictures, thumbs, plan, look):
        found.append(confirmed(candidates, thumbs))
        look()
    return Pairs.joined(found)


def plan_of(num_pictures: int) -> Plan:
    """How the hashes of so many pictures are searched."""
    at_once = min(num_pictures, _LOOKED_UP_AT_ONCE)
    radius = RADIUS if num_pictures <= MANY else RADIUS_OF_MANY
    return Plan.of(2 * num_pictures, at_once * len(WINDOWS), radius)


def hash_candidates(
    pictures: np.ndarray, thumbs: Thumbs, plan: Plan, look: Callable[[], None] = lambda: None
) -> Iterator[Candidates]:
    """Candidates, block by block of the pictures that are searched in. A pair may come twice, once each way round."""
    whole = np.concatenate([whole_codes(thumbs(part)) for part in _parts(pictures)] or [np.empty((0, 2), np.uint64)])
    queries = np.ascontiguousarray(whole.T).ravel()
    for begin in range(0, len(pictures), _LOOKED_UP_AT_ONCE):
        searched = pictures[begin : begin + _LOOKED_UP_AT_ONCE]
        codes = np.concatenate([window_codes(thumbs(part)) for part in _parts(searched)]).ravel()
        best = _BestPairs(len(pictures))
        for query, code, differ in near_codes(queries, codes, plan):
            mirror, part = np.divmod(query, len(pictures))
            within, window = np.divmod(code, len(WINDOWS))
            best.add(part, begin + within, differ, 2 * window + mirror)
            look()
        yield from best.candidates(pictures)


def confirmed(candidates: Candidates, thumbs: Thumbs) -> Pairs:
    """The candidates whose thumbnails agree."""
    parts = thumbs(candidates.part)
    parts = np.where(candidates.is_mirrored[:, None, None, None], parts[:, :, ::-1], parts)
    found = laid(thumbs(candidates.whole), parts, candidates.windows)
    is_copy = found.is_copy
    ends = np.sort(np.stack([candidates.part[is_copy], candidates.whole[is_copy]]), axis=0)
    smaller = np.minimum(1, found.windows[is_copy, 2:].min(1)) if is_copy.any() else np.empty(0, np.float32)
    return Pairs(ends[0], ends[1], candidates.is_mirrored[is_copy], found.is_recoloured[is_copy], smaller)


def _parts(pictures: np.ndarray) -> list[np.ndarray]:
    return [pictures[at : at + _BLOCK] for at in range(0, len(pictures), _BLOCK)]


class _BestPairs:
    """Pairs with the window and mirroring in which their hashes differ least. They are kept as one number each, pair
    first, then distance, so that sorting finds the best; at most some millions are waiting to be sorted."""

    def __init__(self, num_pictures: int) -> None:
        self.num_pictures = num_pictures
        self._sorted = np.empty(0, np.int64)
        self._waiting: list[np.ndarray] = []
        self._num_waiting = 0

    def add(self, part: np.ndarray, whole: np.ndarray, differ: np.ndarray, window: np.ndarray) -> None:
        other = part != whole
        pair = part[other] * self.num_pictures + whole[other]
        packed = (pair << _DISTANCE_BITS | differ[other].astype(np.int64)) << _WINDOW_BITS | window[other]
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
            part, whole = np.divmod(packed >> (_DISTANCE_BITS + _WINDOW_BITS), self.num_pictures)
            window, mirror = np.divmod(packed & ((1 << _WINDOW_BITS) - 1), 2)
            yield Candidates(pictures[part], pictures[whole], mirror == 1, spans[window])

    def _sort(self) -> None:
        every = np.sort(np.concatenate([self._sorted, *self._waiting]))
        pair = every >> (_DISTANCE_BITS + _WINDOW_BITS)
        self._sorted = every[np.r_[True, pair[1:] != pair[:-1]][: len(every)]]
        self._waiting, self._num_waiting = [], 0
