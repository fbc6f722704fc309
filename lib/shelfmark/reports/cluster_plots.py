"""A plot of the sizes of a discovery round's clusters, as a PNG file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shelfmark.reports.figures import BLUE, FAINT, new_figure, save, style

Bin = Mapping[str, Any]
_LEVEL_LABELS = 10


def cluster_sizes(bins: Sequence[Bin], path: Path) -> None:
    """Bars of clusters, and of the images in them, against the clusters' size, which doubles from bar to bar.

    bins: of `evaluation.found_classes.size_histogram`. A narrow bar inside each bar shows the selected part.
    """
    figure = new_figure(height_in=5.6)
    clusters, images = figure.subplots(2, 1, sharex=True)
    for axes, name in ((clusters, "clusters"), (images, "images")):
        for start, width, color, label in (("num_", 0.84, FAINT, "all"), ("num_selected_", 0.56, BLUE, "selected")):
            heights = [one[f"{start}{name}"] for one in bins]
            axes.bar(range(len(bins)), heights, width=width, color=color, label=label, linewidth=0)
        axes.set_ylabel(name)
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.yaxis.set_major_formatter("{x:,.0f}")
        style(axes)
        axes.grid(visible=False, axis="x")
    # Long numbers above many bars would overlap.
    turned = {"rotation": 30, "ha": "right"} if len(bins) > _LEVEL_LABELS else {}
    images.set_xticks(range(len(bins)), [bin_name(one) for one in bins], **turned)
    images.set_xlabel("images in the cluster")
    figure.legend(*clusters.get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False, fontsize=10)
    save(figure, path)


def bin_name(one: Bin) -> str:
    """`1`, `2-3`, `1,024-2,047`."""
    smallest, largest = one["smallest"], one["largest"]
    return f"{smallest:,}" if smallest == largest else f"{smallest:,}-{largest:,}"
