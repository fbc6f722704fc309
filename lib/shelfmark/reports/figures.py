"""Figures and their common look. The one file that knows matplotlib."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any, Literal

from shelfmark.core.files import atomic_path

INK, MUTED, FAINT, GRID = "#2b2f36", "#6b7280", "#9aa1ab", "#d9dce1"
BLUE, ORANGE, GREEN, PURPLE, RED = "#2b6cb0", "#dd6b20", "#2f855a", "#6b46c1", "#c53030"
PIXELS_PER_INCH = 100


def new_figure(height_in: float, width_in: float = 9, layout: Literal["constrained"] | None = "constrained") -> Any:
    """An empty white figure. layout: None leaves every place to the caller."""
    # A Figure of its own, without pyplot, opens no window and keeps no global state.
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), dpi=PIXELS_PER_INCH, layout=layout, facecolor="white")


def style(axes: Any) -> None:
    """Gives axes the common look: a faint grid behind, no frame above and to the right."""
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=10)
    axes.xaxis.label.set(color=INK, fontsize=11)
    axes.yaxis.label.set(color=INK, fontsize=11)


def legend(axes: Any) -> None:
    """Draws a legend where anything has a label."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=9)


def columns_of_pixels(figure: Any, left: float, width: float) -> Any:
    """The part of a figure between two columns of pixels, for `clip_box`."""
    from matplotlib.transforms import Bbox

    return Bbox.from_bounds(left, 0, width, figure.bbox.height)


def halo(width: float) -> list[Any]:
    """The `path_effects` that put dark ink behind a light line."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=width, foreground=INK)]


def font_letters(family: str) -> set[str]:
    """The letters of the font that is drawn with when the family is asked for."""
    from matplotlib import font_manager

    try:
        file = font_manager.findfont(font_manager.FontProperties(family=[family]), fallback_to_default=False)
        return {chr(code) for code, glyph in font_manager.get_font(file).get_charmap().items() if glyph}
    except Exception:  # no such family, or a damaged file
        return set()


def system_fonts() -> set[str]:
    """Families of the system's upright fonts of ordinary weight."""
    from matplotlib import font_manager, get_data_path

    manager = font_manager.fontManager
    known = {font.fname for font in manager.ttflist}
    # matplotlib remembers the fonts of its first run; one that was installed since then is not among them.
    for file in sorted(set(font_manager.findSystemFonts()) - known):
        with contextlib.suppress(Exception):  # of a kind that it cannot draw with
            manager.addfont(file)
    # matplotlib's own ones are for formulas, and have other signs in the places of letters.
    own = get_data_path()
    return {
        font.name
        for font in manager.ttflist
        if font.style == "normal"
        and str(font.weight) in ("400", "normal", "regular")
        and not font.fname.startswith(own)
    }


def save(figure: Any, path: Path) -> None:
    """Writes a PNG file, whole or not at all."""
    with atomic_path(path) as beside:
        # With the usual compression a photograph takes four times as long, for a file that is a seventh smaller.
        figure.savefig(beside, dpi=PIXELS_PER_INCH, format="png", pil_kwargs={"compress_level": 2})


def png(figure: Any) -> bytes:
    """The figure as the bytes of a PNG file."""
    stream = io.BytesIO()
    figure.savefig(stream, dpi=PIXELS_PER_INCH, format="png")
    return stream.getvalue()
