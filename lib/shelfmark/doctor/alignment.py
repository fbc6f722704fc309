"""Whether one picture shows a part of another: their thumbnails are laid over each other, then compared.

Legend: n rows, one a pair.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from shelfmark.core.cores import num_cores
from shelfmark.doctor.hash_codes import grey
from shelfmark.doctor.resampling import windows_of

EXPLAINED, WORST_BLOCK, RECOLOURED = 0.95, 0.3, 12.0
"""A copy is explained to this share of its variance, and nowhere further off than this share of its contrast; from
this difference on, of 0..255, it counts as recoloured."""

_COARSE_PX, _STEPS = 16, 3
_HOPEFUL, _LIKELY = 0.8, 0.88
_LARGEST_STEP, _SMALLEST_PART, _LARGEST_PART, _BEYOND = 0.05, 0.4, 1.1, 0.03
_BLOCKS = 4
_PLAIN, _PLAIN_SHARE, _LEAST_CONTENT = 16.0, 0.9, 0.03
"""Levels that a plain background strays; the share of the edge that is of it; the share of pixels that is content."""

_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class Laid:
    """How pairs lie on each other; all arrays have n rows.

    windows: (n, 4) float32 top, left, height, width: the part of the whole picture that the other one shows, in 0..1.
    is_copy: bool. is_recoloured: bool, whether the colours differ beyond what a file's compression does.
    """

    windows: np.ndarray
    is_copy: np.ndarray
    is_recoloured: np.ndarray


def laid(wholes: np.ndarray, parts: np.ndarray, windows: np.ndarray) -> Laid:
    """Looks for each part (n, 32, 32, 3) uint8 in its whole (n, 32, 32, 3), near a window (n, 4).

    The window is moved and stretched until the grey pictures agree best (least squares, by Gauss and Newton, first on
    16 x 16 pixels). Then a linear map of the colours is fitted, because copies are brightened and tinted, and what it
    leaves unexplained decides.
    """
    some = [slice(at, at + _AT_ONCE) for at in range(0, len(wholes), _AT_ONCE)]
    with ThreadPoolExecutor(num_cores()) as threads:
        found = list(threads.map(lambda rows: _laid(wholes[rows], parts[rows], windows[rows]), some))
    if not found:
        nothing = np.zeros(0, bool)
        return Laid(np.zeros((0, 4), np.float32), nothing, nothing)
    return Laid(*(np.concatenate([getattr(one, name) for one in found]) for name in Laid.__dataclass_fields__))


def _laid(wholes: np.ndarray, parts: np.ndarray, windows: np.ndarray) -> Laid:
    windows = windows.astype(np.float32)
    whole, part = softened(grey(wholes)[..., None]), softened(grey(parts)[..., None])
    windows, agree = _moved(halved(whole), halved(part), windows)
    hopeful = np.flatnonzero(agree >= _HOPEFUL)
    is_copy, is_recoloured = np.zeros((2, len(wholes)), bool)
    if len(hopeful):
        windows[hopeful], agree = _moved(whole[hopeful], part[hopeful], windows[hopeful])
        hopeful = hopeful[agree >= _LIKELY]
        shown = windows_of(wholes[hopeful].astype(np.float32), windows[hopeful])
        is_copy[hopeful], is_recoloured[hopeful] = _same_colours(shown, parts[hopeful].astype(np.float32))
    return Laid(windows, is_copy, is_recoloured & is_copy)


def _moved(whole: np.ndarray, part: np.ndarray, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best of the windows on the way, and (n,) the correlation there. whole, part: (n, side, side, 1)."""
    side = whole.shape[1]
    target = standard(part)
    u = ((np.arange(side) + 0.5) / side).astype(np.float32)
    best, reached = windows.copy(), np.full(len(windows), -2.0, np.float32)
    for step in range(_STEPS + 1):
        shown = standard(windows_of(whole, windows))
        agree = (shown * target).mean((1, 2))
        better = agree > reached
        best[better], reached[better] = windows[better], agree[better]
        if step == _STEPS:
            break
        down = np.gradient(shown, axis=1) * side / windows[:, 2, None, None]
        across = np.gradient(shown, axis=2) * side / windows[:, 3, None, None]
        slopes = np.stack([down, across, down * u[:, None], across * u], axis=3).reshape(len(whole), -1, 4)
        slopes -= slopes.mean(1, keepdims=True)
        turned = slopes.transpose(0, 2, 1)
        normal = turned @ slopes
        normal += 1e-3 * np.trace(normal, axis1=1, axis2=2)[:, None, None] / 4 * np.eye(4, dtype=np.float32)
        normal += 1e-6 * np.eye(4, dtype=np.float32)
        change = np.linalg.solve(normal, turned @ (target - shown).reshape(len(whole), -1, 1))[..., 0]
        windows = windows + np.clip(change, -_LARGEST_STEP, _LARGEST_STEP)
        windows[:, 2:] = np.clip(windows[:, 2:], _SMALLEST_PART, _LARGEST_PART)
        windows[:, :2] = np.clip(windows[:, :2], -_BEYOND, 1 + _BEYOND - _SMALLEST_PART)
    return best, reached


def _same_colours(shown: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) bool, twice: whether a linear map of colours makes one the other, and whether it is far from none.

    shown, part: (n, side, side, 3) float32. Only what stands before a plain background counts: on white paper two
    outlines agree soon.
    """
    num, side = len(part), part.shape[1]
    weight = _content(part).reshape(num, side * side)
    shown, part = softened(shown), softened(part)
    before = np.concatenate([shown.reshape(num, -1, 3), np.ones((num, side * side, 1), np.float32)], axis=2)
    after = part.reshape(num, -1, 3)
    turned = (before * weight[:, :, None]).transpose(0, 2, 1)
    colours = np.linalg.solve(turned @ before + np.eye(4, dtype=np.float32), turned @ after)
    share = weight / np.maximum(weight.sum(1, keepdims=True), 1)
    left = np.square(after - before @ colours).mean(2)
    middle = (share[:, :, None] * after).sum(1, keepdims=True)
    variance = np.maximum((share * np.square(after - middle).mean(2)).sum(1), 1.0)
    is_explained = (share * left).sum(1) <= (1 - EXPLAINED) * variance
    is_explained &= _worst_block(left, weight, side) <= WORST_BLOCK**2 * variance
    is_explained &= weight.mean(1) >= _LEAST_CONTENT
    apart = (share * np.square(after - before[..., :3]).mean(2)).sum(1)
    return is_explained, np.sqrt(apart) > RECOLOURED


def _content(part: np.ndarray) -> np.ndarray:
    """(n, side, side) float32, 0 or 1: what is not background, without its outline. All of it, if the edge of the
    picture is of many colours."""
    ring = np.concatenate([part[:, 0], part[:, -1], part[:, :, 0], part[:, :, -1]], axis=1)
    colour = np.median(ring, axis=1)
    is_plain = (np.abs(ring - colour[:, None]).max(2) <= _PLAIN).mean(1) >= _PLAIN_SHARE
    inside = np.abs(part - colour[:, None, None]).max(3) > _PLAIN
    found = inside.copy()
    for axis in (1, 2):
        for step in (-1, 1):
            found &= np.roll(inside, step, axis)
    found[~is_plain] = True
    return found.astype(np.float32)


def _worst_block(left: np.ndarray, weight: np.ndarray, side: int) -> np.ndarray:
    """(n,) the greatest mean over a block of what is left, among blocks of which a quarter counts."""
    cut = (len(left), _BLOCKS, side // _BLOCKS, _BLOCKS, side // _BLOCKS)
    weights = weight.reshape(cut).sum((2, 4))
    sums = (left * weight).reshape(cut).sum((2, 4))
    counts = weights >= (side // _BLOCKS) ** 2 / 4
    found: np.ndarray = np.where(counts, sums / np.maximum(weights, 1), 0).reshape(len(left), -1).max(1)
    return found


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
