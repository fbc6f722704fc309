"""Whether two pictures that lie on each other are one photograph, whatever was done to its colours.

Legend: n pairs, side of a thumbnail.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shelfmark.doctor.resampling import softened

EXPLAINED, WORST_BLOCK, RECOLOURED = 0.95, 0.3, 12.0
"""A copy is explained to this share of its variance, and nowhere further off than this share of its contrast; from
this difference on, of 0..255, it counts as recoloured."""

MOST_COVERED, BESIDE_COVER, BLOCK_BESIDE_COVER = 0.12, 0.994, 0.12
"""Where something was laid over a copy, such as a price, it is on at most this share of the pixels. All others are
explained better than those of any two photographs."""

_BLOCKS = 4
_PLAIN, _PLAIN_SHARE, _LEAST_CONTENT = 16.0, 0.9, 0.03
"""Levels that a plain background strays; the share of the edge that is of it; the share of pixels that is content."""
_RIDGE, _CONSTANT = 10.0, 100.0
_KEPT, _LEAST_ERROR, _COVERED_BEYOND = (0.6, 0.7, 0.8, 0.85), 9.0, 0.2


@dataclass(frozen=True, eq=False)
class Agreement:
    """(n,) bool each. is_copy; is_recoloured: its colours differ beyond what a file's compression does; is_covered:
    something is laid over a part of it."""

    is_copy: np.ndarray
    is_recoloured: np.ndarray
    is_covered: np.ndarray


def agreement(shown: np.ndarray, part: np.ndarray) -> Agreement:
    """Of pairs (n, side, side, 3) float32 each, whether a map of colours makes the one the other.

    The map is linear, with one curve for the brightness, because copies are brightened until they are clipped. Only
    what stands before a plain background counts: on white paper two outlines agree soon.
    """
    num, side = len(part), part.shape[1]
    content, is_plain = _content(part)
    weight = content.reshape(num, side * side)
    before, after = (softened(one).reshape(num, side * side, 3) for one in (shown, part))
    columns = _columns(before)
    left = _unexplained(columns, after, weight)
    variance = _variance(after, weight)
    is_copy = _mean(left, weight) <= (1 - EXPLAINED) * variance
    is_copy &= _worst_block(left, weight, side) <= WORST_BLOCK**2 * variance
    is_copy &= weight.mean(1) >= _LEAST_CONTENT
    is_covered = np.zeros(num, bool)
    # On plain paper, the packs of two variants differ no more than by what could have been laid over.
    rest = np.flatnonzero(~is_copy & ~is_plain)
    is_covered[rest] = _agree_beside_cover(columns[rest], after[rest], weight[rest], left[rest])
    apart = np.sqrt(_mean(np.square(after - before).mean(2), weight))
    return Agreement(is_copy | is_covered, (apart > RECOLOURED) & ~is_covered, is_covered)


def _agree_beside_cover(columns: np.ndarray, after: np.ndarray, weight: np.ndarray, left: np.ndarray) -> np.ndarray:
    """(n,) bool: whether all agrees but a small part, found by fitting again to what was explained best."""
    counts = weight
    for share in _KEPT:
        counts = weight * (left <= np.maximum(_quantile(left, weight, share), _LEAST_ERROR)[:, None])
        left = _unexplained(columns, after, counts)
    variance = _variance(after, counts)
    agree = _mean(left, counts) <= (1 - BESIDE_COVER) * variance
    side = round(left.shape[1] ** 0.5)
    agree &= _worst_block(left, counts, side) <= BLOCK_BESIDE_COVER**2 * variance
    off = _mean((left > _COVERED_BEYOND**2 * variance[:, None]).astype(np.float32), weight)
    return np.asarray(agree & (off <= MOST_COVERED))


def _columns(before: np.ndarray) -> np.ndarray:
    """(n, pixels, columns) float64 of colours (n, pixels, 3): what the map is a sum of."""
    squared = np.square(before.mean(2, keepdims=True)) / 255
    return np.concatenate([before, np.full_like(squared, _CONSTANT), squared], axis=2, dtype=np.float64)


def _unexplained(columns: np.ndarray, after: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(n, pixels) float32: the squared error of the best map, fitted to the pixels that have weight (n, pixels)."""
    # In float64, because the colours of a grey picture are three equal columns.
    turned = (columns * weight[:, :, None]).transpose(0, 2, 1)
    colours = np.linalg.solve(turned @ columns + _RIDGE * np.eye(columns.shape[2]), turned @ after)
    mapped = np.clip(columns @ colours, 0, 255)
    return np.square(after - mapped).mean(2).astype(np.float32)


def _mean(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(n,) of (n, pixels)."""
    return np.asarray((weight * values).sum(1) / np.maximum(weight.sum(1), 1))


def _variance(after: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(n,) of the colours (n, pixels, 3), at least 1."""
    middle = (weight[:, :, None] * after).sum(1) / np.maximum(weight.sum(1), 1)[:, None]
    return np.asarray(np.maximum(_mean(np.square(after - middle[:, None]).mean(2), weight), 1.0))


def _quantile(values: np.ndarray, weight: np.ndarray, share: float) -> np.ndarray:
    """(n,) the value (n, P) that this share of the pixels with weight is not above."""
    ordered = np.sort(np.where(weight > 0, values, np.inf), axis=1)
    place = np.maximum(np.ceil(share * weight.sum(1)).astype(np.int64) - 1, 0)
    return np.take_along_axis(ordered, place[:, None], axis=1)[:, 0]


def _content(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, side, side) float32, 0 or 1: what is not background, without its outline; and (n,) whether there is a plain
    background. Without one, if the edge of the picture is of many colours, all is content."""
    ring = np.concatenate([part[:, 0], part[:, -1], part[:, :, 0], part[:, :, -1]], axis=1)
    colour = np.median(ring, axis=1)
    is_plain = (np.abs(ring - colour[:, None]).max(2) <= _PLAIN).mean(1) >= _PLAIN_SHARE
    inside = np.abs(part - colour[:, None, None]).max(3) > _PLAIN
    found = inside.copy()
    for axis in (1, 2):
        for step in (-1, 1):
            found &= np.roll(inside, step, axis)
    found[~is_plain] = True
    return found.astype(np.float32), is_plain


def _worst_block(left: np.ndarray, weight: np.ndarray, side: int) -> np.ndarray:
    """(n,) the greatest mean over a block of what is left (n, pixels), among blocks of which a quarter counts."""
    cut = (len(left), _BLOCKS, side // _BLOCKS, _BLOCKS, side // _BLOCKS)
    weights = weight.reshape(cut).sum((2, 4))
    sums = (left * weight).reshape(cut).sum((2, 4))
    counts = weights >= (side // _BLOCKS) ** 2 / 4
    return np.asarray(np.where(counts, sums / np.maximum(weights, 1), 0).max((1, 2)))
