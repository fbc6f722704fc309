"""The pairs of classes that a model takes for one another, side by side."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from shelfmark.core.log import warn
from shelfmark.core.wording import counted
from shelfmark.data.images import read_rgb
from shelfmark.data.sources import Picture, UnreadableImage
from shelfmark.ops.confusions import ConfusedPair
from shelfmark.reports.figures import INK, MUTED, PIXELS_PER_INCH, columns_of_pixels, new_figure, save
from shelfmark.reports.lettering import Lettering, after_mark, lettering
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

    A picture is None where there is none of the class. predicted_is_training: the second is one of the training, since
    the evaluated set has none of the class.
    """

    pair: ConfusedPair
    name: str
    predicted_name: str
    picture: Picture | None
    predicted_picture: Picture | None
    predicted_is_training: bool = False


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
    """A sheet of the pairs: left a picture of the true class, right one of the class it was taken for.

    A name whose letters no installed font has is written as number and ASCII, and a warning says so.
    """
    letters = lettering(name for shown in pairs for name in (shown.name, shown.predicted_name))
    _tell_of_letters(pairs, letters, path)
    sheet = np.full((_TITLE + _CELL_HEIGHT * -(-len(pairs) // _COLUMNS), _COLUMNS * _CELL_WIDTH, 3), 255, np.uint8)
    figure = new_figure(len(sheet) / PIXELS_PER_INCH, sheet.shape[1] / PIXELS_PER_INCH, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    _write(axes, _MARGIN // 2, 14, _title(len(pairs)), size=13, color=INK)
    _write(axes, _MARGIN // 2, 37, _subtitle(pairs), size=10, color=MUTED)
    for place, shown in enumerate(pairs):
        top = _TITLE + _CELL_HEIGHT * (place // _COLUMNS)
        left = _MARGIN // 2 + _CELL_WIDTH * (place % _COLUMNS)
        right = left + _THUMBNAIL + _GAP
        for start, picture in ((left, shown.picture), (right, shown.predicted_picture)):
            thumbnail = _thumbnail(picture)
            sheet[top : top + _THUMBNAIL, start : start + _THUMBNAIL] = _EMPTY if thumbnail is None else thumbnail
            if thumbnail is None:
                _write(axes, start + 26, top + _THUMBNAIL // 2 - 6, "no picture", size=8, color=MUTED)
        if shown.predicted_is_training:
            _tag(axes, right + 3, top + _THUMBNAIL - 3, "training")
        _write_caption(axes, left, top + _THUMBNAIL + 5, shown, letters)
    axes.imshow(sheet, extent=(0, sheet.shape[1], len(sheet), 0), aspect="auto", interpolation="nearest")
    save(figure, path)


def _title(num_pairs: int) -> str:
    if not num_pairs:
        return "No image of val was taken for another class"
    return "The most confused pair on val" if num_pairs == 1 else f"The {num_pairs} most confused pairs on val"


def _subtitle(pairs: Sequence[ShownPair]) -> str:
    said = "left: the true class; right: what it was taken for"
    if any(shown.predicted_is_training for shown in pairs):
        said += "; training: val has no picture of this class, so one of the training is shown"
    return said


def _tell_of_letters(pairs: Sequence[ShownPair], letters: Lettering, path: Path) -> None:
    names = {name for shown in pairs for name in (shown.name, shown.predicted_name)}
    lacking = sorted(name for name in names if letters.lacking.intersection(name))
    if lacking:
        warn(
            f"no installed font has all letters of {counted(len(lacking), 'class name')}, such as {lacking[0]}:"
            f" {path.name} shows the class numbers and what ASCII can say of the names. A font that has the letters,"
            " such as Noto Sans (packages fonts-noto-core and fonts-noto-cjk), is found when it is installed"
        )


def _write_caption(axes: Any, left: float, top: float, shown: ShownPair, letters: Lettering) -> None:
    pair = shown.pair
    name, predicted_name = letters.name(shown.name, pair.label), letters.name(shown.predicted_name, pair.predicted)
    lines = (
        (_shortened(name), INK),
        (after_mark("\N{RIGHTWARDS ARROW}", _shortened(predicted_name)), INK),
        (f"{pair.num_images} of {pair.num_of_class} images", MUTED),
    )
    for number, (text, color) in enumerate(lines):
        place = _write(axes, left, top + 15 * number, text, size=8, color=color)
        place.set(fontfamily=letters.families, clip_box=columns_of_pixels(axes.figure, left, 2 * _THUMBNAIL + _GAP))


def _write(axes: Any, x: float, y: float, text: str, size: float, color: str) -> Any:
    # A name may hold dollar signs, which must not begin a formula, and wide letters.
    return axes.text(x, y, text, fontsize=size, color=color, va="top", parse_math=False, clip_on=True)


def _tag(axes: Any, x: float, y: float, text: str) -> None:
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.85}
    axes.text(x, y, text, fontsize=7, color=INK, va="bottom", bbox=box)


def _thumbnail(picture: Picture | None) -> np.ndarray | None:
    """(T, T, 3) uint8: the whole picture on a grey square; None where it cannot be read."""
    if picture is None:
        return None
    try:
        pixels = read_rgb(*picture)
    except UnreadableImage:
        return None
    square = np.full((_THUMBNAIL, _THUMBNAIL, 3), _EMPTY, np.uint8)
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
