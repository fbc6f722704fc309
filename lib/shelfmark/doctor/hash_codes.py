"""Perceptual hashes of pictures, of windows of them, and of turned ones. Legend: N pictures.

A hash has a bit for each of 63 coefficients of the cosine transform of the grey thumbnail: its sign. Nearly equal
pictures have hashes that differ in few bits. Mirroring a picture turns the signs of the coefficients of odd horizontal
frequency, and a quarter turn exchanges both frequencies, so the hash of a turned picture is known from its own.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from shelfmark.doctor.measures import THUMB_PX
from shelfmark.doctor.resampling import resampling

NUM_BITS = 64
_LOW = 8
_WHOLE, _MIDDLE = (0.0, 1.0), (0.1, 0.9)
_SPANS = (_WHOLE, (0.0, 0.9), (0.05, 0.95), (0.1, 1.0), _MIDDLE)
_PLACES = (*product(range(4), range(4)), (0, 4), (4, 0), (4, 4))
WINDOWS = tuple((_SPANS[high], _SPANS[wide]) for high, wide in _PLACES)
"""Parts of a picture, (top, bottom), (left, right) in 0..1; the first is the whole. A copy that was cropped by a tenth,
on one edge or on two that face each other, looks like one of them."""

STRAIGHT, MIRRORED, UPSIDE_DOWN, HALF_TURN, TRANSPOSED = range(5)
TURNS = range(8)
"""How a picture is turned: after the bit of TRANSPOSED its rows are its columns, then that of UPSIDE_DOWN turns the
order of its rows, and that of MIRRORED the order of its columns. 5 and 6 are the quarter turns."""

_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def grey(thumbs: np.ndarray) -> np.ndarray:
    """(N, 32, 32) float32 of RGB thumbnails (N, 32, 32, 3)."""
    return thumbs.astype(np.float32) @ _GREY


def window_codes(thumbs: np.ndarray) -> np.ndarray:
    """(N, windows) uint64: the hash of each of WINDOWS of thumbnails (N, 32, 32, 3)."""
    found = np.empty((len(thumbs), len(WINDOWS)), np.uint64)
    values = _coefficients(thumbs, _SPANS)
    for place, (high, wide) in enumerate(_PLACES):
        rows, columns = (slice(_LOW * one, _LOW * (one + 1)) for one in (high, wide))
        found[:, place] = _packed(values[:, rows, columns] > 0)
    return found


def whole_codes(thumbs: np.ndarray) -> np.ndarray:
    """(N,) uint64: the hash of each whole picture."""
    return _packed(_coefficients(thumbs, _SPANS[:1]) > 0)


def turned_codes(codes: np.ndarray, turn: int) -> np.ndarray:
    """(N,) uint64: the hashes of the whole pictures after one of TURNS, from their hashes (N,)."""
    if turn & TRANSPOSED:
        bits = np.unpackbits(np.ascontiguousarray(codes).view(np.uint8).reshape(-1, 8), axis=1)
        codes = _packed(bits[:, np.argsort(_ORDER)].reshape(-1, _LOW, _LOW).transpose(0, 2, 1))
    odd = np.arange(_LOW) % 2 == 1
    if turn & UPSIDE_DOWN:
        codes = codes ^ _packed(np.tile(odd[:, None], (1, _LOW))[None])
    if turn & MIRRORED:
        codes = codes ^ _packed(np.tile(odd, (_LOW, 1))[None])
    return codes


def turned(thumbs: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """(n, 32, 32, 3): thumbnails after a turn (n,) each."""
    found = thumbs.copy()
    for turn in np.unique(turns[turns != STRAIGHT]).tolist():
        some = thumbs[turns == turn]
        some = some.transpose(0, 2, 1, 3) if turn & TRANSPOSED else some
        found[turns == turn] = some[:, :: -1 if turn & UPSIDE_DOWN else 1, :: -1 if turn & MIRRORED else 1]
    return found


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


def _packed(is_positive: np.ndarray) -> np.ndarray:
    """(N,) uint64 of the signs of coefficients (N, 8, 8); the first one, the mean brightness, has no bit."""
    bits = is_positive.reshape(len(is_positive), NUM_BITS).copy()
    bits[:, 0] = 0
    return np.ascontiguousarray(np.packbits(bits[:, _ORDER], axis=1)).view(np.uint64)[:, 0]
