from __future__ import annotations

from pathlib import Path

import numpy as np
from pictures import has_color, pixels

from shelfmark.evaluation.found_classes import size_histogram
from shelfmark.reports.cluster_plots import bin_name, cluster_sizes
from shelfmark.reports.figures import BLUE, FAINT


def _bins(*sizes: int, selected: bool) -> list[dict[str, int]]:
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    return size_histogram(clusters, np.full(len(clusters), selected))["bins"]


def test_all_and_selected_clusters_have_bars(tmp_path: Path) -> None:
    cluster_sizes(_bins(1, 2, 9, selected=True), tmp_path / "sizes.png")
    assert has_color(tmp_path / "sizes.png", BLUE)
    assert has_color(tmp_path / "sizes.png", FAINT)


def test_what_was_not_selected_has_no_bar_of_its_own(tmp_path: Path) -> None:
    blue = {}
    for selected in (False, True):
        cluster_sizes(_bins(1, 2, 9, selected=selected), tmp_path / "sizes.png")
        # The legend's patch alone is blue where nothing was selected.
        blue[selected] = int((np.abs(pixels(tmp_path / "sizes.png") - [0x2B, 0x6C, 0xB0]).sum(axis=2) < 12).sum())
    assert 0 < blue[False] < blue[True] / 10


def test_no_cluster_and_very_large_ones_are_drawn(tmp_path: Path) -> None:
    for sizes in ((), (1, 5_000)):
        cluster_sizes(_bins(*sizes, selected=True), tmp_path / f"{len(sizes)}.png")
        assert pixels(tmp_path / f"{len(sizes)}.png").shape[1] == 900


def test_bins_are_named_by_their_ends() -> None:
    assert [bin_name(one) for one in _bins(1, 3, 1500, selected=True)[::10]] == ["1", "1,024-2,047"]
