"""Whether one picture shows a part of another: their thumbnails are laid over each other, then compared.

Legend: n rows, one a pair.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from shelfmark.core.cores import num_cores
from shelfmark.doctor.agreement import agreement
from shelfmark.doctor.hash_codes import grey
from shelfmark.doctor.resampling import halved, softened, standard, windows_of

_STEPS, _FAR_OFF = 3, 0.5
_MOVING = np.diag([1, 1, 1, 1, 0, 0]).astype(np.float32)
_HOPEFUL, _LIKELY = 0.8, 0.84
_LARGEST_STEP, _SMALLEST_PART, _LARGEST_PART, _BEYOND = 0.05, 0.4, 1.1, 0.03
_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Laid:
    """How pairs lie on each other; all arrays have n rows.

    windows: (n, 4) float32 top, left, height, width: the part of the whole picture that the other one shows, in 0..1.
    is_copy, is_recoloured, is_covered: bool, as in `agreement.Agreement`; the latter two of copies alone.
    """

    windows: np.ndarray
    is_copy: np.ndarray
    is_recoloured: np.ndarray
    is_covered: np.ndarray


def laid(wholes: np.ndarray, parts: np.ndarray, windows: np.ndarray) -> Laid:
    """Looks for each part (n, 32, 32, 3) uint8 in its whole (n, 32, 32, 3), near a window (n, 4).

    The window is moved and stretched until the grey pictures agree best (least squares, by Gauss and Newton, first on
    16 x 16 pixels). Then a map of the colours is fitted, because copies are brightened and tinted, and what it leaves
    unexplained decides.
    """
    some = [slice(at, at + _AT_ONCE) for at in range(0, len(wholes), _AT_ONCE)]
    with ThreadPoolExecutor(num_cores()) as threads:
        found = list(threads.map(lambda rows: _laid(wholes[rows], parts[rows], windows[rows]), some))
    if not found:
        nothing = np.zeros(0, bool)
        return Laid(np.zeros((0, 4), np.float32), nothing, nothing, nothing)
    return Laid(*(np.concatenate([getattr(one, name) for one in found]) for name in Laid.__dataclass_fields__))


def _laid(wholes: np.ndarray, parts: np.ndarray, windows: np.ndarray) -> Laid:
    windows = windows.astype(np.float32)
    whole, part = softened(grey(wholes)[..., None]), softened(grey(parts)[..., None])
    windows, agree = _moved(halved(whole), halved(part), windows)
    hopeful = np.flatnonzero(agree >= _HOPEFUL)
    is_copy, is_recoloured, is_covered = np.zeros((3, len(wholes)), bool)
    if len(hopeful):
        windows[hopeful], agree = _moved(whole[hopeful], part[hopeful], windows[hopeful])
        hopeful = hopeful[agree >= _LIKELY]
        shown = windows_of(wholes[hopeful].astype(np.float32), windows[hopeful])
        found = agreement(shown, parts[hopeful].astype(np.float32))
        is_copy[hopeful] = found.is_copy
        is_recoloured[hopeful] = found.is_copy & found.is_recoloured
        is_covered[hopeful] = found.is_covered
    return Laid(windows, is_copy, is_recoloured, is_covered)


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
        slopes = np.stack([down, across, down * u[:, None], across * u, shown, np.ones_like(shown)], axis=3)
        slopes = slopes.reshape(len(whole), -1, 6)
        off = (target - shown).reshape(len(whole), -1, 1)
        # What was laid over a copy is far off, and must not draw the window to itself.
        turned = (slopes / np.maximum(1, np.abs(off) / _FAR_OFF)).transpose(0, 2, 1)
        normal = turned @ slopes
        normal += 1e-3 * np.trace(normal[:, :4, :4], axis1=1, axis2=2)[:, None, None] / 4 * _MOVING
        normal += 1e-6 * np.eye(6, dtype=np.float32)
        change = np.linalg.solve(normal, turned @ off)[:, :4, 0]
        windows = windows + np.clip(change, -_LARGEST_STEP, _LARGEST_STEP)
        windows[:, 2:] = np.clip(windows[:, 2:], _SMALLEST_PART, _LARGEST_PART)
        windows[:, :2] = np.clip(windows[:, :2], -_BEYOND, 1 + _BEYOND - _SMALLEST_PART)
    return best, reached
