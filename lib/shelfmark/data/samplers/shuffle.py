"""Shuffling inside many segments at once."""

from __future__ import annotations

import numpy as np


def shuffled_within(segments: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """An order of 0..M-1 that shuffles each segment and leaves the segments where they are: (M,) int64.

    segments: (M,) the segment of each element, from 0, not descending.

    One sort of 64-bit keys made of the segment, random bits and the element itself. Because the element
    is in the key, all keys differ, and the result is the same whichever sort numpy picks for a processor.
    """
    num_elements = len(segments)
    if not num_elements:
        return np.zeros(0, dtype=np.int64)
    element_bits = max(1, (num_elements - 1).bit_length())
    segment_bits = max(1, int(segments[-1]).bit_length())
    random_bits = 64 - segment_bits - element_bits
    assert random_bits >= 8, "more elements and segments than 64-bit keys can shuffle fairly"
    keys = segments.astype(np.uint64) << np.uint64(64 - segment_bits)
    keys |= generator.integers(0, 2**random_bits, num_elements, dtype=np.uint64) << np.uint64(element_bits)
    keys |= np.arange(num_elements, dtype=np.uint64)
    keys.sort()
    keys &= np.uint64(2**element_bits - 1)
    return keys.view(np.int64)
