"""The picture of a learning-rate range test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from shelfmark.reports.figures import BLUE, FAINT, GREEN, RED, legend, new_figure, save, style


def rate_range_plot(
    rows: Sequence[Mapping[str, float]], path: Path, proposal: float | None, diverged: float | None
) -> None:
    """The loss against the learning rate, and the rates that matter as upright lines.

    rows: of each step `rate`, `loss` and `smoothed`, the moving average. proposal, diverged: rates, None where there is
    none.
    """
    figure = new_figure(height_in=4.6)
    axes = figure.subplots()
    rates, losses, smoothed = (np.array([row[name] for row in rows]) for name in ("rate", "loss", "smoothed"))
    axes.plot(rates, losses, color=FAINT, linewidth=1, label="loss of a step")
    axes.plot(rates, smoothed, color=BLUE, linewidth=2.2, label="moving average")
    for rate, color, dashes, name in ((proposal, GREEN, "-", "proposal"), (diverged, RED, (0, (6, 3)), "diverged")):
        if rate is not None:
            axes.axvline(rate, color=color, linewidth=1.6, linestyle=dashes, label=f"{name}: {rate:.2g}")
    axes.set_xscale("log")
    if len(smoothed):
        # One diverged step would flatten all that matters.
        low, high = float(smoothed.min()), float(max(smoothed[0], np.median(smoothed)))
        axes.set_ylim(low - 0.1 * (high - low or 1), high + 0.5 * (high - low or 1))
    axes.set_xlabel("learning rate (optim.lr)")
    axes.set_ylabel("training loss")
    style(axes)
    legend(axes)
    save(figure, path)
