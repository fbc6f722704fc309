from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from pictures import pixels

from shelfmark.ops.calibration_metrics import reliability
from shelfmark.reports.reliability import reliability_diagram


def _blue_rows(path: Path, columns: slice) -> int:
    red, _, blue = pixels(path)[:, columns].transpose(2, 0, 1)
    return int(((blue - red) > 80).any(axis=1)[60:].sum())


def test_a_bin_is_as_high_as_its_share_of_right_images(tmp_path: Path) -> None:
    # 3 of 4 images with a confidence in the lower half are right, 1 of 4 in the upper half.
    confidence = torch.tensor([0.4] * 4 + [0.9] * 4)
    hits = torch.tensor([True, True, True, False, True, False, False, False])
    reliability_diagram(reliability(confidence, hits, num_bins=2), tmp_path / "reliability.png")
    lower, upper = (_blue_rows(tmp_path / "reliability.png", columns) for columns in (slice(120, 300), slice(450, 640)))
    np.testing.assert_allclose(lower / upper, 3, rtol=0.02)


def test_without_images_an_empty_diagram_is_drawn(tmp_path: Path) -> None:
    nothing = reliability(torch.zeros(0), torch.zeros(0, dtype=torch.bool))
    reliability_diagram(nothing, tmp_path / "reliability.png")
    assert _blue_rows(tmp_path / "reliability.png", slice(80, 690)) == 0
