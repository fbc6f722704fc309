"""Copies that their features find: those that were cropped by more than a hash forgives. Legend: n pictures,
D embedding, d dimensions.

The neighbours of each picture are searched by tiles of a product, in few dimensions, and the thumbnails decide.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from shelfmark.doctor.hash_codes import grey
from shelfmark.doctor.near_copies import Candidates, Pairs, Thumbs, confirmed
from shelfmark.doctor.resampling import halved, resampling, softened, standard
from shelfmark.retrieval.nearest import exact_neighbours

NEIGHBOURS, NEAR = 6, 0.8
"""Of a picture, that many nearest others are compared, if their cosine is so high."""

_DIMENSIONS, _SAMPLE = 64, 20_000
_AT_ONCE = 2048
_SCALES, _PLACES, _HOPEFUL = (1.0, 0.85, 0.7, 0.58), 4, 0.5


def copies_by_features(
    features: np.ndarray, pictures: np.ndarray, thumbs: Thumbs, look: Callable[[], None] = lambda: None
) -> Pairs:
    """The near copies among `pictures` (n,) int64 that their features (n, D) find. look: called now and then.

    The search is in the 64 directions of greatest variance: a million pictures take 64 MACs a pair, and 256 MB.
    """
    if len(pictures) < 2:
        return Pairs.none()
    units = _units(features)
    near = exact_neighbours(torch.from_numpy(units), NEIGHBOURS)
    look()
    first = np.repeat(np.arange(len(pictures)), near.ids.shape[1])
    second = near.ids.numpy().ravel()
    is_near = near.scores.numpy().ravel() >= NEAR
    ends = np.unique(np.sort(np.stack([first[is_near], second[is_near]]), axis=0), axis=1)
    found = []
    for at in range(0, ends.shape[1], _AT_ONCE):
        one, two = pictures[ends[:, at : at + _AT_ONCE]]
        found.append(_laid_anyhow(one, two, thumbs))
        look()
    return Pairs.joined(found)


def _laid_anyhow(one: np.ndarray, two: np.ndarray, thumbs: Thumbs) -> Pairs:
    """The pairs that agree, whichever shows a part of the other, mirrored or not; (n,) pictures each."""
    found = []
    for part, whole in ((one, two), (two, one)):
        agree, window, is_mirrored = _best_starts(thumbs(whole), thumbs(part))
        some = agree >= _HOPEFUL
        candidates = Candidates(part[some], whole[some], is_mirrored[some].astype(np.uint8), window[some])
        found.append(confirmed(candidates, thumbs))
    return Pairs.joined(found)


def _best_starts(wholes: np.ndarray, parts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The window of each whole that correlates best with the part, of a grid: (n,), (n, 4), and whether mirrored."""
    whole, target = (
        halved(softened(grey(wholes)[..., None]))[..., 0],
        standard(halved(softened(grey(parts)[..., None]))),
    )
    best, window = np.full(len(wholes), -2.0, np.float32), np.zeros((len(wholes), 4))
    is_mirrored = np.zeros(len(wholes), bool)
    side = whole.shape[1]
    for scale in _SCALES:
        places = np.linspace(0, 1 - scale, 1 if scale == 1 else _PLACES).tolist()
        lines = [resampling(place, place + scale, side).astype(np.float32) for place in places]
        for top, down in zip(places, lines):
            rows = down @ whole
            for left, across in zip(places, lines):
                shown = standard((rows @ across.T)[..., None])
                for mirrored in (False, True):
                    agree = (shown[:, :, ::-1] * target if mirrored else shown * target).mean((1, 2))
                    better = agree > best
                    best[better], is_mirrored[better] = agree[better], mirrored
                    window[better] = (top, left, scale, scale)
    return best, window, is_mirrored


def _units(features: np.ndarray) -> np.ndarray:
    """(n, d) float32 of length 1: the centred features in the directions of their greatest variance."""
    step = max(1, len(features) // _SAMPLE)
    sample = np.asarray(features[::step], dtype=np.float64)
    centre = sample.mean(0)
    _, vectors = np.linalg.eigh(np.cov((sample - centre).T).reshape(sample.shape[1], -1))
    directions = vectors[:, ::-1][:, :_DIMENSIONS].astype(np.float32)
    found = np.empty((len(features), directions.shape[1]), np.float32)
    for at in range(0, len(features), _SAMPLE):
        block = (np.asarray(features[at : at + _SAMPLE]) - centre.astype(np.float32)) @ directions
        found[at : at + _SAMPLE] = block / np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-12)
    return found
