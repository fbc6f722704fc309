"""The picture of risk against coverage: what is wrong of the answers, as more pictures are answered."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from shelfmark.reports.figures import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, RED, legend, new_figure, save, style

Line = tuple[np.ndarray, np.ndarray]
"""(points,) coverage and (points,) risk, shares of 1."""
_COLORS = (BLUE, ORANGE, GREEN, PURPLE, RED)
_DASHES = ("-", (0, (7, 3)), (0, (2, 2)), (0, (9, 3, 2, 3)), (0, (4, 1)))


def risk_coverage_plot(
    by_score: Mapping[str, Line], by_bucket: Mapping[str, Line], score: str, max_wrong: float, path: Path
) -> None:
    """Two pictures side by side: every score on all pictures, and one score by how often products were trained.

    max_wrong: the share of wrong answers that is promised, a line across both.
    """
    figure = new_figure(height_in=4.6, width_in=11)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, title, lines in (
        (left, "by score", by_score),
        (right, f"{score}, by training images of the product", by_bucket),
    ):
        for (name, (coverage, risk)), color, dashes in zip(lines.items(), _COLORS, _DASHES):
            axes.plot(100 * coverage, 100 * risk, color=color, linestyle=dashes, linewidth=1.8, label=name)
        axes.axhline(100 * max_wrong, color=INK, linewidth=1, linestyle=(0, (1, 2)))
        axes.set_title(title, fontsize=11, color=MUTED, loc="left")
        axes.set_xlabel("pictures answered (%)")
        axes.set_xlim(0, 100)
        style(axes)
        legend(axes)
    left.set_ylim(bottom=0)
    left.set_ylabel("answers that are wrong (%)")
    save(figure, path)
