"""Millions of strings in two arrays.

A list of Python strings costs about 60 bytes an entry and is copied page by page into every loader
process, because reading it writes reference counts (pytorch issue 13246). Two numpy arrays are shared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from shelfmark.core.byte_runs import gathered, run_hashes

_AT_ONCE = 10_000


@dataclass(frozen=True, eq=False)
class Strings:
    """An immutable sequence of `N` strings.

    data: (total bytes,) uint8, all strings as UTF-8, end to end.
    offsets: (N + 1,) int64; string `i` is `data[offsets[i]:offsets[i + 1]]`.
    """

    data: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, strings: Iterable[str]) -> Strings:
        """Packs any strings; a lone surrogate from a file name survives."""
        texts = strings if isinstance(strings, list) else list(strings)
        together = "".join(texts)
        if together.isascii():
            return cls(np.frombuffer(together.encode(), dtype=np.uint8), _offsets(map(len, texts), len(texts)))
        encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), _offsets(map(len, encoded), len(encoded)))

    @classmethod
    def stored(cls, data: np.ndarray, offsets: np.ndarray) -> Strings:
        """Strings from arrays that were read. Raises a ValueError where those cannot be strings."""
        if data.ndim != 1 or data.dtype != np.uint8:
            raise ValueError(f"the bytes of strings are uint8 of (B,), not {data.dtype} of {data.shape}")
        if offsets.ndim != 1 or offsets.dtype.kind not in "iu" or not len(offsets):
            raise ValueError(f"the offsets of strings are integers of (N + 1,), not {offsets.dtype} of {offsets.shape}")
        if offsets[0] != 0 or offsets[-1] != len(data) or (offsets[1:] < offsets[:-1]).any():
            raise ValueError(f"the offsets of strings do not rise from 0 to their {len(data)} bytes")
        return cls(data, offsets.astype(np.int64, copy=False))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> str:
        index = int(row)
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"row {row} of {len(self)} strings")
        raw = self.data[self.offsets[index] : self.offsets[index + 1]].tobytes()
        return raw.decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _AT_ONCE):
            # Reading arrays item by item takes ten times as long.
            offsets = self.offsets[start : start + _AT_ONCE + 1].tolist()
            raw = self.data[offsets[0] : offsets[-1]].tobytes()
            for begin, end in pairwise(offsets):
                yield raw[begin - offsets[0] : end - offsets[0]].decode("utf-8", "surrogateescape")

    def take(self, rows: np.ndarray) -> Strings:
        """The strings at `rows` (int array or boolean mask), in that order."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        begins = self.offsets[rows]
        return Strings(*gathered(np.ascontiguousarray(self.data), begins, self.offsets[rows + 1] - begins))

    @classmethod
    def joined(cls, parts: Sequence[Strings]) -> Strings:
        """The strings of all parts, one part behind the other."""
        offsets = np.zeros(sum(map(len, parts)) + 1, dtype=np.int64)
        place, start = 1, 0
        for part in parts:
            # In place: each array of millions that is only passed through costs as much as the addition.
            np.add(part.offsets[1:], start, out=offsets[place : place + len(part)])
            place, start = place + len(part), start + len(part.data)
        return cls(np.concatenate([part.data for part in parts]), offsets)

    def equal_to(self, text: str) -> np.ndarray:
        """(N,) bool: which strings are `text`."""
        wanted = np.frombuffer(text.encode("utf-8", "surrogateescape"), dtype=np.uint8)
        rows = np.flatnonzero(np.diff(self.offsets) == len(wanted))
        for place, byte in enumerate(wanted.tolist()):
            rows = rows[self.data[self.offsets[rows] + place] == byte]
        found = np.zeros(len(self), dtype=bool)
        found[rows] = True
        return found

    def hashes(self) -> np.ndarray:
        """(N,) int64: equal strings have equal numbers, in this process; different strings nearly always differ."""
        return run_hashes(np.ascontiguousarray(self.data), self.offsets[:-1], np.diff(self.offsets))


def _offsets(lengths: Iterable[int], number: int) -> np.ndarray:
    offsets = np.zeros(number + 1, dtype=np.int64)
    np.cumsum(np.fromiter(lengths, np.int64, number), out=offsets[1:])
    return offsets
