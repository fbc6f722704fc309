"""A map laid over its picture, and places of a picture in words. Legend: H x W pixels of the picture."""

from __future__ import annotations

import cv2
import numpy as np

from shelfmark.data.input_window import Box, InputWindow, whole_window

_MOST = 0.75
_COLUMNS, _ROWS = ("left", "centre", "right"), ("top", "middle", "bottom")


def on_picture(values: np.ndarray, window: InputWindow) -> np.ndarray:
    """(H, W) float32: a map (rows, columns), bilinear between its cells' centres; NaN where the network saw nothing."""
    left, top, _, _ = window.edges
    across = (np.arange(window.width, dtype=np.float32) + 0.5 - left) / window.edges.width
    down = (np.arange(window.height, dtype=np.float32) + 0.5 - top) / window.edges.height
    columns, rows = (
        np.float32(share * cells - 0.5) for share, cells in ((across, values.shape[1]), (down, values.shape[0]))
    )
    grid = np.meshgrid(columns, rows)
    heat = cv2.remap(values.astype(np.float32), *grid, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    heat[:, (across < 0) | (across > 1)] = np.nan
    heat[(down < 0) | (down > 1)] = np.nan
    return np.asarray(heat)


def on_input(values: np.ndarray, size: int) -> np.ndarray:
    """(size, size) float32: the map over the whole input of the network, as `on_picture` lays it over a picture."""
    return on_picture(values, whole_window(size, size))


def in_words(box: Box, height: int, width: int) -> str:
    """Where a rectangle lies in a picture: `upper left`, `centre`, `along the bottom`, `nearly everywhere`."""
    is_wide, is_tall = box.width > _MOST * width, box.height > _MOST * height
    column = _third((box.left + box.right) / 2 / width)
    row = _third((box.top + box.bottom) / 2 / height)
    if is_wide and is_tall:
        return "nearly everywhere"
    if is_wide:
        return f"along the {_ROWS[row]}"
    if is_tall:
        return f"down the {_COLUMNS[column]}"
    if row == 1:
        return _COLUMNS[column]
    return f"{_ROWS[row]} centre" if column == 1 else f"{('upper', '', 'lower')[row]} {_COLUMNS[column]}"


def _third(share: float) -> int:
    return min(2, max(0, int(3 * share)))
