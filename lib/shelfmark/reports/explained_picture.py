"""Pictures of an explanation: what speaks for the answer, and the patches that two pictures share.

Nothing is told by colour alone: heat is a ramp of lightness in one hue with contour lines, regions are outlined and
numbered. Legend: H x W pixels.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from shelfmark.reports.figures import INK, MUTED, halo, new_figure
from shelfmark.reports.heat import Mark, about_what_was_seen, ramp, shaded
from shelfmark.reports.lettering import Lettering, lettering

_LONGEST_PX, _WIDTH_IN, _LINE_IN = 720, 11.0, 0.235
_LETTERS_A_LINE, _LETTERS_A_TITLE = 118, 56
_LEVELS = (0.25, 0.5, 0.75)


class Panel(NamedTuple):
    """pixels: (H, W, 3) uint8. title: above it."""

    pixels: np.ndarray
    title: str
    marks: Sequence[Mark]


def explanation_figure(
    pixels: np.ndarray, heat: np.ndarray, marks: Sequence[Mark], title: str, lines: Sequence[str]
) -> Any:
    """The picture with its outlined regions, beside it the heat over a grey copy, and below it `lines`.

    heat: (H, W); what is below 0 is drawn as 0, NaN as what the network did not see. Of a picture that is far longer
    than what was seen, the ends are left out.
    """
    pixels, heat, marks = about_what_was_seen(pixels, heat, marks)
    small, small_marks = _small(pixels, marks)
    letters = lettering([title, *lines])
    figure, axes = _panels(small.shape, small.shape, title, lines, letters, has_scale=True)
    _show(axes[0], small, "the photograph", letters)
    _outline(axes[0], small_marks, letters)
    _show(axes[1], small, "what speaks for the answer", letters)
    _heat(figure, axes, small, heat)
    return figure


def matches_figure(left: Panel, right: Panel, title: str, lines: Sequence[str]) -> Any:
    """Two pictures side by side, whose marks with the same sign belong together, and below them `lines`."""
    letters = lettering([title, left.title, right.title, *lines])
    both = [_small(panel.pixels, panel.marks) for panel in (left, right)]
    figure, axes = _panels(both[0][0].shape, both[1][0].shape, title, lines, letters)
    for place, panel, (small, marks) in zip(axes, (left, right), both):
        _show(place, small, panel.title, letters)
        _outline(place, marks, letters)
    return figure


def _small(pixels: np.ndarray, marks: Sequence[Mark]) -> tuple[np.ndarray, list[Mark]]:
    """The picture at most _LONGEST_PX a side, and a small one enlarged to that, with its marks."""
    scale = _LONGEST_PX / max(pixels.shape[:2])
    sides = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    across, down = sides[0] / pixels.shape[1], sides[1] / pixels.shape[0]

    return cv2.resize(pixels, sides, interpolation=method), [one.scaled(across, down) for one in marks]


def _panels(
    left: tuple[int, ...],
    right: tuple[int, ...],
    title: str,
    lines: Sequence[str],
    letters: Lettering,
    has_scale: bool = False,
) -> tuple[Any, list[Any]]:
    """A figure with two axes as large as the pictures need, a title above and lines below."""
    wrapped = [part for line in lines for part in textwrap.wrap(line, _LETTERS_A_LINE, subsequent_indent="    ")]
    wide, edge, gap, scale = _WIDTH_IN, 0.25, 0.35, 0.95 if has_scale else 0.0
    room = (wide - 2 * edge - gap - scale) / 2
    heights = [min(6.2, room * shape[0] / shape[1]) for shape in (left, right)]
    high = max(heights)
    below, above = _LINE_IN * len(wrapped) + 0.3, 0.78
    figure = new_figure(high + below + above, wide, layout=None)
    total = high + below + above
    axes = []
    for place, height in enumerate(heights):
        x = edge + place * (room + gap)
        axes.append(figure.add_axes((x / wide, (below + high - height) / total, room / wide, height / total)))
    settings = {"parse_math": False, "family": list(letters.families), "color": INK, "va": "top"}
    figure.text(edge / wide, 1 - 0.16 / total, _short(title), fontsize=14, weight="bold", **settings)
    for row, line in enumerate(wrapped):
        figure.text(edge / wide, (below - 0.14 - _LINE_IN * row) / total, line, fontsize=10.5, **settings)
    return figure, axes


def _short(title: str) -> str:
    return textwrap.shorten(title, 88, placeholder="...") if len(title) > 88 else title


def _show(axes: Any, pixels: np.ndarray, title: str, letters: Lettering) -> None:
    axes.imshow(pixels)
    axes.set_axis_off()
    axes.set_title(
        title if len(title) <= _LETTERS_A_TITLE else f"...{title[3 - _LETTERS_A_TITLE :]}",
        fontsize=10.5,
        color=MUTED,
        loc="left",
        parse_math=False,
        family=list(letters.families),
    )


def _outline(axes: Any, marks: Sequence[Mark], letters: Lettering) -> None:
    """The edges of each region in white on black, which show on any picture, and its sign in the first corner."""
    height, width = axes.images[0].get_array().shape[:2]
    for parts, sign, is_dashed in marks:
        inside = np.zeros((height + 2, width + 2), np.uint8)  # with an edge, so that every outline is closed
        for box in parts:
            left, top, right, bottom = (round(edge) for edge in box)
            inside[top + 1 : bottom + 1, left + 1 : right + 1] = 1
        places = np.arange(-1, width + 1), np.arange(-1, height + 1)
        for color, line, dashes in (("black", 4.5, "-"), ("white", 2.0, (0, (4, 3)) if is_dashed else "-")):
            axes.contour(*places, inside, levels=[0.5], colors=color, linewidths=line, linestyles=[dashes])
        first = min(parts, key=lambda box: (box.top, box.left))
        axes.annotate(
            sign,
            (first.left, first.top),
            xytext=(4, -4),
            textcoords="offset points",
            ha="left",
            va="top",
            fontsize=11,
            weight="bold",
            color="black",
            family=list(letters.families),
            bbox={"boxstyle": "round,pad=0.2", "fc": "white", "ec": "black"},
        )
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _heat(figure: Any, axes: Sequence[Any], pixels: np.ndarray, heat: np.ndarray) -> None:
    """Draws the ramp over a grey copy, its contour lines and its scale."""
    shown, level, seen = shaded(pixels, heat)
    place = axes[1]
    place.images[0].set_data(shown)
    if level.max() > 0:
        _contours(place, level)
    if not seen.all():
        place.contourf(~seen, levels=[0.5, 1.5], colors="none", hatches=["///"])
    _scale(figure, place, bool(seen.all()))


def _contours(axes: Any, level: np.ndarray) -> None:
    lines = axes.contour(level, levels=_LEVELS, colors="white", linewidths=(1.0, 1.6, 2.4))
    lines.set(path_effects=halo(4))
    for text in axes.clabel(lines, fmt=lambda part: f"{100 * part:.0f}%", fontsize=8, colors="black"):
        text.set_bbox({"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.85})


def _scale(figure: Any, beside: Any, sees_all: bool) -> None:
    """A bar of the ramp with the meaning of its ends in words."""
    place = beside.get_position()
    left = place.x1 + 0.012
    axes = figure.add_axes((left, place.y0 + 0.12 * place.height, 0.014, 0.72 * place.height))
    axes.imshow(ramp(np.linspace(1, 0, 128))[:, None], aspect="auto", extent=(0, 1, 0, 1))
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.set_yticks([0, *_LEVELS, 1], ["none", *(f"{100 * part:.0f}%" for part in _LEVELS), "most"], fontsize=9)
    for level in _LEVELS:
        axes.axhline(level, color=INK, linewidth=1)
    told = "of the most,\nas the lines" + ("" if sees_all else "\n\n////: not seen\nby the network")
    figure.text(left, place.y0 + 0.1 * place.height, told, fontsize=8.5, color=MUTED, va="top")
