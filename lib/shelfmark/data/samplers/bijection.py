"""A shuffle as arithmetic: a keyed bijection of 0..N-1, of which any part is computed without the rest.

The state is one integer, the key. A Feistel network permutes the numbers of an even number of bits, the smallest that
holds N; what it takes beyond N is put through it again, until it is below N ("cycle walking", Black and Rogaway 2002,
"Ciphers with arbitrary finite domains"). Fewer than four passes are needed on average. Legend: N items, n rows of them.
"""

from __future__ import annotations

import numpy as np

NUM_ROUNDS = 10
_MIX_1, _MIX_2, _STEP = (np.uint64(one) for one in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0x9E3779B97F4A7C15))


class Bijection:
    """size: N, from 1 to 2**62. key: 64 bits; another key is another shuffle. Its digits are fixed for ever, because
    the order of a training follows from them."""

    def __init__(self, size: int, key: int) -> None:
        if not 1 <= size <= 2**62:
            raise ValueError(f"size={size} must lie in 1..2**62")
        self.size = size
        self._half = np.uint64(max(1, -(-(size - 1).bit_length() // 2)))
        self._mask = np.uint64((1 << int(self._half)) - 1)
        with np.errstate(over="ignore"):
            seeds = np.uint64(key % 2**64) + _STEP * np.arange(1, NUM_ROUNDS + 1, dtype=np.uint64)
            self._round_keys = _mixed(seeds)

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """(n,) int64, what stands at `places` of the shuffle. places: (n,) int64 in 0..N-1."""
        found = self._permuted(places.astype(np.uint64))
        beyond = np.flatnonzero(found >= self.size)
        while beyond.size:
            found[beyond] = self._permuted(found[beyond])
            beyond = beyond[found[beyond] >= self.size]
        return found.astype(np.int64)

    def _permuted(self, numbers: np.ndarray) -> np.ndarray:
        left, right = numbers >> self._half, numbers & self._mask
        with np.errstate(over="ignore"):
            for key in self._round_keys:
                left, right = right, left ^ (_mixed(right + key) & self._mask)
        return (left << self._half) | right


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """The finisher of splitmix64 (Steele, Lea and Flood 2014): each bit depends on all."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * _MIX_1
    numbers = (numbers ^ (numbers >> np.uint64(27))) * _MIX_2
    return numbers ^ (numbers >> np.uint64(31))
