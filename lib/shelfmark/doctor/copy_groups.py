"""Copies of one photograph as groups. Legend: N pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from shelfmark.ops.connected import connected_components


def exact_parts(hashes: np.ndarray, is_read: np.ndarray) -> np.ndarray:
    """(N,) int64: the first picture with the same pixels. hashes: (N,) V16. A picture that was not read is alone."""
    found = np.arange(len(hashes))
    read = np.flatnonzero(is_read)
    numbers = np.ascontiguousarray(hashes[read]).view([("high", "<u8"), ("low", "<u8")])
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    found[read] = read[first][inverse.ravel()]
    return found


def joined_parts(exact: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N,) int64: the lowest picture of each connected part.

    exact: (N,) of `exact_parts`. first, second: (pairs,).
    """
    everyone = np.arange(len(exact))
    source, target = (torch.from_numpy(np.concatenate(pair)) for pair in ((everyone, first), (exact, second)))
    return connected_components(source, target, len(exact)).numpy()


def groups(parts: np.ndarray) -> list[np.ndarray]:
    """The pictures (n,) of each part that has two or more, by their first picture. parts: (N,)."""
    order = np.argsort(parts, kind="stable")
    _, begins, numbers = np.unique(parts[order], return_index=True, return_counts=True)
    several = np.flatnonzero(numbers > 1)
    return [order[begins[place] : begins[place] + numbers[place]] for place in several.tolist()]


def largest(group: Sequence[int] | np.ndarray, num_pixels: np.ndarray) -> int:
    """The picture of a group with the most pixels; of equal ones the first. num_pixels: (N,)."""
    members = np.asarray(group)
    return int(members[np.argmax(num_pixels[members])])
