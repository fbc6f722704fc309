"""Perceptual hashes of pictures, of windows of them, and of their mirror images. Legend: N pictures.

A hash has a bit for each of 63 coefficients of the cosine transform of the grey thumbnail: its sign. Nearly equal
pictures have hashes that differ in few bits. Mirroring a picture turns the signs of the coefficients of odd horizontal
frequency, so the hash of the mirror image is known without it.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from shelfmark.doctor.measures import THUMB_PX
from shelfmark.doctor.resampling import resampling

NUM_BITS = 64
_LOW = 8
_SPANS = ((0.0, 1.0), (0.0, 0.9), (0.05, 0.95), (0.1, 1.0))
WINDOWS = tuple(product(_SPANS, _SPANS))
"""Parts of a picture, (top, bottom), (left, right) in 0..1; the first is the whole. A copy that was cropped by a tenth
looks like one of them."""

_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def grey(thumbs: np.ndarray) -> np.ndarray:
    """(N, 32, 32) float32 of RGB thumbnails (N, 32, 32, 3)."""
    return thumbs.astype(np.float32) @ _GREY


def window_codes(thumbs: np.ndarray) -> np.ndarray:
    """(N, windows) uint64: the hash of each of WINDOWS of thumbnails (N, 32, 32, 3)."""
    found = np.empty((len(thumbs), len(WINDOWS)), np.uint64)
    values = _coefficients(thumbs, _SPANS)
    for place in range(len(WINDOWS)):
        high, wide = divmod(place, len(_SPANS))
        rows, columns = (slice(_LOW * one, _LOW * (one + 1)) for one in (high, wide))
        found[:, place] = _packed(values[:, rows, columns])
    return found


def whole_codes(thumbs: np.ndarray) -> np.ndarray:
    """(N, 2) uint64: the hash of each whole picture, and that of its mirror image."""
    values = _coefficients(thumbs, _SPANS[:1])
    mirrored = values * np.where(np.arange(_LOW) % 2, -1, 1).astype(np.float32)
    return np.stack([_packed(values), _packed(mirrored)], axis=1)


def _coefficients(thumbs: np.ndarray, spans: tuple[tuple[float, float], ...]) -> np.ndarray:
    """(N, 8 spans, 8 spans): the low coefficients of the windows of every pair of vertical and horizontal span."""
    basis = _cosines()
    each = np.concatenate([basis @ resampling(low, high, THUMB_PX) for low, high in spans]).astype(np.float32)
    across = grey(thumbs).reshape(-1, THUMB_PX) @ each.T
    found: np.ndarray = each @ across.reshape(len(thumbs), THUMB_PX, len(each))
    return found


def _cosines() -> np.ndarray:
    """(8, 32) float64: the first rows of the orthonormal cosine transform."""
    frequency, place = np.arange(_LOW)[:, None], np.arange(THUMB_PX)
    found = np.sqrt(2 / THUMB_PX) * np.cos(np.pi * frequency * (2 * place + 1) / (2 * THUMB_PX))
    found[0] /= np.sqrt(2)
    return found


# Dealt at random, so that no part of a hash has the finest coefficients alone, which differ first.
_ORDER = np.random.default_rng(0).permutation(NUM_BITS)


def _packed(values: np.ndarray) -> np.ndarray:
    """(N,) uint64 of coefficients (N, 8, 8); the first one, the mean brightness, has no bit."""
    bits = values.reshape(len(values), NUM_BITS) > 0
    bits[:, 0] = False
    return np.ascontiguousarray(np.packbits(bits[:, _ORDER], axis=1)).view(np.uint64)[:, 0]
