"""What a test sees of a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from shelfmark.data.sources import FileSource, Picture


def picture_in(path: Path) -> Picture:
    return Picture(FileSource([str(path)]), 0)


def pixels(path: Path) -> np.ndarray:
    """(H, W, 3) int."""
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def has_color(path: Path, color: str) -> bool:
    """Whether a pixel is nearly `#rrggbb`."""
    wanted = [int(color[place : place + 2], 16) for place in (1, 3, 5)]
    return bool((np.abs(pixels(path) - wanted).sum(axis=2) < 12).any())
