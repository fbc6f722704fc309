"""The picture of risk against coverage shows each curve in percent, and the promise across both parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmark.reports import risk_coverage


def test_every_curve_is_drawn_with_the_line_of_the_promise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(risk_coverage, "save", lambda figure, path: drawn.append(figure))
    line = np.array([0.25, 0.5, 1.0]), np.array([0.0, 0.1, 0.4])
    by_score, by_bucket = {"margin": line, "softmax": line}, {"all": line, "few": line}
    risk_coverage.risk_coverage_plot(by_score, by_bucket, "margin", 0.05, tmp_path / "a.png")
    left, right = drawn[0].axes
    for axes, names in ((left, ["margin", "softmax"]), (right, ["all", "few"])):
        assert axes.get_legend_handles_labels()[1] == names
        *curves, promise = axes.lines
        assert [list(one.get_xdata()) for one in curves] == [[25, 50, 100]] * 2
        assert [list(one.get_ydata()) for one in curves] == [[0, 10, 40]] * 2
        assert list(promise.get_ydata()) == [5, 5]
        assert axes.get_xlabel() == "pictures answered (%)"
    assert left.get_ylabel() == "answers that are wrong (%)"
    assert "margin" in right.get_title(loc="left")
