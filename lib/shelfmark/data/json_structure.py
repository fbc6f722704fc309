"""Where the values of a JSON text begin and end: its brackets, commas and colons outside of strings."""

from __future__ import annotations

import numpy as np

_QUOTE, _BACKSLASH = 0x22, 0x5C
_STEPS = np.zeros(256, dtype=np.int8)
_STEPS[[0x7B, 0x5B]] = 1
_STEPS[[0x7D, 0x5D]] = -1
_IS_STRUCTURE = _STEPS != 0
_IS_STRUCTURE[[0x2C, 0x3A]] = True
COMMA, COLON = 0x2C, 0x3A


class Structure:
    """The structure of `data` from byte `at` on, where a value, a key or blanks begin, in an object or a list.

    places: (n,) int64, bytes of `data` with a bracket, a comma or a colon outside of strings. kinds: (n,) these bytes.
    depths: (n,) int64, how many more brackets were opened than closed, up to and with each: 0 is the level of the
    beginning, below 0 is behind its end. What `data` has not yet does not change what is found in front of it.
    """

    def __init__(self, data: bytes | bytearray, at: int = 0) -> None:
        text = np.frombuffer(data, np.uint8)[at:]
        quotes = np.flatnonzero(text == _QUOTE)
        if quotes.size and (text == _BACKSLASH).any():
            quotes = quotes[~_is_escaped(text, quotes)]
        places = np.flatnonzero(_IS_STRUCTURE[text])
        places = places[np.searchsorted(quotes, places) % 2 == 0]
        self.kinds = text[places]
        self.depths = np.cumsum(_STEPS[self.kinds], dtype=np.int64)
        self.places = places + at

    def value_end(self) -> int | None:
        """The byte behind the first value: that of the comma or bracket that follows it; None if there is none yet."""
        ends = np.flatnonzero((self.depths < 0) | ((self.depths == 0) & (self.kinds == COMMA)))
        return int(self.places[ends[0]]) if ends.size else None

    def first(self) -> int | None:
        """The first byte of the structure."""
        return int(self.places[0]) if self.places.size else None

    def list_end(self) -> int | None:
        """The byte of the bracket that ends the list; None if there is none yet."""
        ends = np.flatnonzero(self.depths < 0)
        return int(self.places[ends[0]]) if ends.size else None

    def commas(self) -> np.ndarray:
        """(n,) int64: the commas between the entries of the list."""
        end = self.list_end()
        commas = self.places[(self.depths == 0) & (self.kinds == COMMA)]
        return commas if end is None else commas[commas < end]


def entry_starts(data: bytes, at: int = 0) -> np.ndarray:
    """(n,) int64: the first byte of each entry of a list, whose first entry begins at `at` or behind blanks there."""
    found = [at, *(Structure(data, at).commas() + 1).tolist()]
    return np.array([skip_blanks(data, place) for place in found], dtype=np.int64)


def skip_blanks(data: bytes | bytearray, at: int) -> int:
    """The first byte from `at` on that is no blank of JSON; the length of `data` if there is none."""
    while at < len(data) and data[at] in b" \t\r\n":
        at += 1
    return at


def _is_escaped(text: np.ndarray, quotes: np.ndarray) -> np.ndarray:
    """(n,) bool: whether an odd number of backslashes stands in front of each quote."""
    others = np.flatnonzero(text != _BACKSLASH)
    before = np.searchsorted(others, quotes) - 1
    last = np.where(before >= 0, others[before], -1)
    return (quotes - last - 1) % 2 == 1
