"""The pairs of classes that a model takes for one another, side by side."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from shelfmark.data.images import read_rgb
from shelfmark.data.sources import Picture, UnreadableImage
from shelfmark.ops.confusions import ConfusedPair
from shelfmark.reports.figures import INK, MUTED, PIXELS_PER_INCH, columns_of_pixels, new_figure, save
from shelfmark.reports.tables import write_table

_COLUMNS = 5
_THUMBNAIL, _GAP, _MARGIN = 112, 4, 24
_CAPTION = 62
_TITLE = 64
_CELL_WIDTH = 2 * _THUMBNAIL + _GAP + _MARGIN
_CELL_HEIGHT = _THUMBNAIL + _CAPTION + _MARGIN // 2
_LETTERS_A_LINE = 34
_EMPTY = 236


@dataclass(frozen=True)
class ShownPair:
    """A pair of classes, their names, and a picture of each: a confused one of the true class, one of the predicted.

    A picture is None where the evaluated set has no picture of the class.
    """

    pair: ConfusedPair
    name: str
    predicted_name: str
    picture: Picture | None
    predicted_picture: Picture | None


def write_confused_pairs(pairs: Sequence[ShownPair], path: Path) -> None:
    """Writes a CSV file with one row a pair, the most confused first."""
    columns = ("class_id", "class_name", "predicted_id", "predicted_name", "images", "images_of_class", "share")
    rows = [
        (
            shown.pair.label,
            shown.name,
            shown.pair.predicted,
            shown.predicted_name,
            shown.pair.num_images,
            shown.pair.num_of_class,
            shown.pair.num_images / shown.pair.num_of_class,
        )
        for shown in pairs
    ]
    write_table(path, [dict(zip(columns, row)) for row in rows], columns)


def confused_pairs_sheet(pairs: Sequence[ShownPair], path: Path) -> None:
    """A sheet of the pairs: left a picture of the true class, right one of the class it was taken for."""
    sheet = np.full((_TITLE + _CELL_HEIGHT * -(-len(pairs) // _COLUMNS), _COLUMNS * _CELL_WIDTH, 3), 255, np.uint8)
    figure = new_figure(len(sheet) / PIXELS_PER_INCH, sheet.shape[1] / PIXELS_PER_INCH, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    _write(axes, _MARGIN // 2, 14, _title(len(pairs)), size=13, color=INK)
    _write(axes, _MARGIN // 2, 37, "left: the true class; right: what it was taken for", size=10, color=MUTED)
    for place, shown in enumerate(pairs):
        top = _TITLE + _CELL_HEIGHT * (place // _COLUMNS)
        left = _MARGIN // 2 + _CELL_WIDTH * (place % _COLUMNS)
        for start, picture in ((left, shown.picture), (left + _THUMBNAIL + _GAP, shown.predicted_picture)):
            sheet[top : top + _THUMBNAIL, start : start + _THUMBNAIL] = _thumbnail(picture)
        _write_caption(axes, left, top + _THUMBNAIL + 5, shown)
    axes.imshow(sheet, extent=(0, sheet.shape[1], len(sheet), 0), aspect="auto", interpolation="nearest")
    with warnings.catch_warnings():
        # A letter that no installed font has is drawn as a box; the CSV file has the letter.
        warnings.filterwarnings("ignore", message="Glyph")
        save(figure, path)


def _title(num_pairs: int) -> str:
    if not num_pairs:
        return "No image of val was taken for another class"
    return "The most confused pair on val" if num_pairs == 1 else f"The {num_pairs} most confused pairs on val"


def _write_caption(axes: Any, left: float, top: float, shown: ShownPair) -> None:
    lines = (
        (_shortened(shown.name), INK),
        (_shortened(f"\N{RIGHTWARDS ARROW} {shown.predicted_name}"), INK),
        (f"{shown.pair.num_images} of {shown.pair.num_of_class} images", MUTED),
    )
    for number, (text, color) in enumerate(lines):
        _write(axes, left, top + 15 * number, text, size=8, color=color, width=2 * _THUMBNAIL + _GAP)


def _write(axes: Any, x: float, y: float, text: str, size: float, color: str, width: float | None = None) -> None:
    # A name may hold dollar signs, which must not begin a formula, and wide letters.
    written = axes.text(x, y, text, fontsize=size, color=color, va="top", parse_math=False, clip_on=True)
    if width is not None:
        written.set_clip_box(columns_of_pixels(axes.figure, x, width))


def _thumbnail(picture: Picture | None) -> np.ndarray:
    """(T, T, 3) uint8: the whole picture on a grey square; the square alone where it cannot be read."""
    square = np.full((_THUMBNAIL, _THUMBNAIL, 3), _EMPTY, np.uint8)
    if picture is None:
        return square
    try:
        pixels = read_rgb(*picture)
    except UnreadableImage:
        return square
    height, width = (max(1, round(side * _THUMBNAIL / max(pixels.shape[:2]))) for side in pixels.shape[:2])
    is_smaller = max(height, width) > max(pixels.shape[:2])
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR if is_smaller else cv2.INTER_AREA)
    top, left = (_THUMBNAIL - height) // 2, (_THUMBNAIL - width) // 2
    square[top : top + height, left : left + width] = small
    return square


def _shortened(text: str) -> str:
    """As much of the text as a line takes; Chinese, Japanese and Korean letters are as wide as two others."""
    widths = [2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text]
    if sum(widths) <= _LETTERS_A_LINE:
        return text
    kept = int(np.searchsorted(np.cumsum(widths), _LETTERS_A_LINE - 1, side="right"))
    return text[:kept].rstrip() + "\N{HORIZONTAL ELLIPSIS}"
