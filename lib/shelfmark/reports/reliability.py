"""The reliability diagram: whether a probability of 80% is right in 80 of 100 cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shelfmark.core.wording import counted
from shelfmark.ops.calibration_metrics import Reliability
from shelfmark.reports.figures import BLUE, FAINT, INK, new_figure, save, style


def reliability_diagram(found: Reliability, path: Path) -> None:
    """Accuracy against confidence in bins, above the share of images that each bin holds.

    Below the diagonal the model is overconfident. Source: Guo et al. 2017, figure 1.
    """
    num_images, num_right = found.num_images.numpy(), found.num_right.numpy()
    is_held = num_images > 0
    edges = np.linspace(0, 100, len(num_images) + 1)
    middles, width = (edges[1:] + edges[:-1]) / 2, edges[1]
    figure = new_figure(height_in=7.2, width_in=7)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    accuracy = 100 * num_right[is_held] / num_images[is_held]
    above.bar(middles[is_held], accuracy, 0.92 * width, color=BLUE, alpha=0.8, label="accuracy")
    above.plot([0, 100], [0, 100], color=INK, linewidth=1.2, linestyle=(0, (5, 3)), label="as sure as right")
    above.set_ylim(0, 100)
    above.set_ylabel("images of the bin that are right (%)")
    total = int(num_images.sum())
    below.bar(middles, 100 * num_images / max(1, total), 0.92 * width, color=FAINT)
    below.set_ylabel("images (%)")
    below.set_xlabel("confidence: probability of the predicted class (%)")
    below.set_xlim(0, 100)
    for axes in (above, below):
        style(axes)
    figure.align_ylabels()
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=10)
    above.text(0.03, 0.96, _summary(found, total), transform=above.transAxes, va="top", color=INK, linespacing=1.5)
    save(figure, path)


def _summary(found: Reliability, total: int) -> str:
    if not total:
        return "no labelled images"
    confidence, accuracy = float(found.confidence_sum.sum()) / total, int(found.num_right.sum()) / total
    return (
        f"expected calibration error {100 * (found.expected_error or 0):.1f}%\n"
        f"mean confidence {100 * confidence:.1f}%, accuracy {100 * accuracy:.1f}%\n{counted(total, 'image')}"
    )
