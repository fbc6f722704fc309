from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.axes import Axes
from PIL import Image

from shelfmark.reports.rate_range_plot import rate_range_plot


def test_the_picture_has_a_line_for_each_rate_that_matters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"rate": 10.0**place, "loss": 1.0, "smoothed": 0.9} for place in range(-6, 0)]
    upright = []
    monkeypatch.setattr(Axes, "axvline", lambda self, x, **look: upright.append((x, look["label"])))
    rate_range_plot(rows, tmp_path / "a.png", 0.003, None)
    rate_range_plot(rows[:1], tmp_path / "b.png", 0.003, 0.2)
    rate_range_plot([], tmp_path / "c.png", None, 0.2)
    assert [at for at, _ in upright] == [0.003, 0.003, 0.2, 0.2]
    assert upright[0][1] == "proposal: 0.003"
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 500
