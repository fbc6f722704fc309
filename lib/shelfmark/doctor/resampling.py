"""Windows of square pictures, of `side` pixels a side, by linear interpolation, and simpler pictures of them.

Legend: n pictures, C channels.
"""

from __future__ import annotations

import numpy as np


def resampling(low: float, high: float, side: int) -> np.ndarray:
    """(side, side) float64: the matrix that stretches the span low..high, of 0..1, of a side over the whole side."""
    below, share = _places(np.array([low]), np.array([high - low]), side)
    found = np.zeros((side, side))
    row = np.arange(side)
    found[row, below[0]] += 1 - share[0]
    found[row, below[0] + 1] += share[0]
    return found


def windows_of(pictures: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """(n, side, side, C): a window of each picture (n, side, side, C), stretched over the whole.

    windows: (n, 4) top, left, height, width, in 0..1. Beyond an edge the edge goes on.
    """
    side, row = pictures.shape[1], np.arange(len(pictures))[:, None]
    for axis, (start, length) in enumerate(((0, 2), (1, 3))):
        below, share = _places(windows[:, start], windows[:, length], side)
        share = share.astype(pictures.dtype)[:, :, None, None]
        lines = pictures if axis == 0 else pictures.transpose(0, 2, 1, 3)
        lines = lines[row, below] * (1 - share) + lines[row, below + 1] * share
        pictures = lines if axis == 0 else lines.transpose(0, 2, 1, 3)
    return pictures


def standard(pictures: np.ndarray) -> np.ndarray:
    """(n, side, side) of mean 0 and variance 1, of (n, side, side, 1)."""
    found = pictures[..., 0] - pictures.mean((1, 2))[:, :, None]
    return np.asarray(found / np.maximum(1e-6, np.sqrt(np.square(found).mean((1, 2), keepdims=True))))


def softened(pictures: np.ndarray) -> np.ndarray:
    """Each pixel with its neighbours, so that a shift of part of a pixel changes little. (n, side, side, C)."""
    side = pictures.shape[1]
    before, after = np.r_[0, : side - 1], np.r_[1:side, side - 1]
    for axis in (1, 2):
        pictures = (pictures.take(before, axis) + 2 * pictures + pictures.take(after, axis)) / 4
    return pictures


def halved(pictures: np.ndarray) -> np.ndarray:
    """(n, side / 2, side / 2, C) of (n, side, side, C)."""
    num, side, _, channels = pictures.shape
    return pictures.reshape(num, side // 2, 2, side // 2, 2, channels).mean((2, 4))


def _places(start: np.ndarray, length: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, side) the pixel before each place, and how far the place lies between it and the next one."""
    middle = (np.arange(side) + 0.5) / side
    place = np.clip((start[:, None] + length[:, None] * middle) * side - 0.5, 0, side - 1)
    below = np.minimum(place.astype(np.int64), side - 2)
    return below, place - below
