"""The shapes of packs: how wide, round or flat, where the label sits. Data and outlines, no drawing.

Heights along a pack run from 0 at its top to 1 at its foot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

PACK_HEIGHT_PX = 168


@dataclass(frozen=True)
class Shape:
    """geometry: `round` turns about its axis, `cuboid` shows a side, `sheet` is flat with a soft relief.

    aspect: width / height. label: top and bottom of the printed part. cap: top and bottom of the cap.
    outline: (height, half-width as a part of the widest) points of a round pack or a sheet.
    depth: a cuboid's depth / width. roof: height of the gable on top / width. seal: crimped part of a sheet
    at its top and, but for a pouch that stands, at its foot. gloss: strength of the highlight.
    """

    geometry: Literal["round", "cuboid", "sheet"]
    aspect: float
    label: tuple[float, float]
    cap: tuple[float, float] = (0.0, 0.0)
    outline: tuple[tuple[float, float], ...] = ((0.0, 1.0), (1.0, 1.0))
    depth: float = 0.0
    roof: float = 0.0
    seal: tuple[float, float] = (0.0, 0.0)
    gloss: float = 0.3
    metal: bool = False

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) of the pack's face; a pack that lies is as wide as others are high."""
        if self.aspect > 1:
            return PACK_HEIGHT_PX, round(PACK_HEIGHT_PX / self.aspect)
        return round(PACK_HEIGHT_PX * self.aspect), PACK_HEIGHT_PX

    @property
    def has_cap(self) -> bool:
        """A screw cap or a lid, on top, below or on the gable."""
        return self.cap[1] > 0 or self.roof > 0

    def half_widths(self, heights: np.ndarray) -> np.ndarray:
        """Half-width at each height, as a part of the widest; 0 above and below the pack."""
        at, half = zip(*self.outline)
        return np.interp(heights, at, half, left=0.0, right=0.0)


SHAPES: dict[str, Shape] = {
    "bottle": Shape("round", 0.37, (0.40, 0.93), (0.0, 0.10), gloss=0.55, outline=(
        (0.0, 0.33), (0.015, 0.37), (0.10, 0.37), (0.101, 0.29), (0.18, 0.31), (0.24, 0.46), (0.30, 0.74), (0.35, 0.92),
        (0.40, 1.0), (0.955, 1.0), (0.985, 0.96), (1.0, 0.86))),
    "flask": Shape("round", 0.43, (0.27, 0.95), (0.0, 0.15), gloss=0.45, outline=(
        (0.0, 0.46), (0.02, 0.5), (0.15, 0.5), (0.151, 0.44), (0.175, 0.46), (0.19, 0.7), (0.21, 0.86), (0.25, 0.97),
        (0.30, 1.0), (0.90, 0.97), (0.97, 0.93), (1.0, 0.82))),
    "jug": Shape("round", 0.46, (0.40, 0.95), (0.0, 0.13), gloss=0.4, outline=(
        (0.0, 0.36), (0.02, 0.4), (0.13, 0.4), (0.131, 0.33), (0.17, 0.34), (0.24, 0.52), (0.32, 0.76), (0.40, 0.95),
        (0.46, 1.0), (0.96, 1.0), (1.0, 0.88))),
    "can": Shape("round", 0.53, (0.07, 0.93), gloss=0.6, metal=True, outline=(
        (0.0, 0.80), (0.025, 0.82), (0.07, 1.0), (0.93, 1.0), (0.985, 0.84), (1.0, 0.80))),
    "tin": Shape("round", 0.72, (0.06, 0.94), gloss=0.4, metal=True, outline=(
        (0.0, 1.0), (0.03, 1.0), (0.035, 0.97), (0.965, 0.97), (0.97, 1.0), (1.0, 1.0))),
    "jar": Shape("round", 0.72, (0.36, 0.90), (0.0, 0.17), gloss=0.6, outline=(
        (0.0, 0.86), (0.015, 0.9), (0.17, 0.9), (0.171, 0.82), (0.21, 0.84), (0.28, 0.97), (0.33, 1.0), (0.94, 1.0),
        (1.0, 0.88))),
    "tub": Shape("round", 0.98, (0.17, 0.97), (0.0, 0.13), gloss=0.25, outline=(
        (0.0, 0.96), (0.02, 1.0), (0.13, 1.0), (0.131, 0.94), (1.0, 0.74))),
    "carton": Shape("cuboid", 0.58, (0.0, 1.0), depth=0.9, roof=0.42, gloss=0.12),
    "box": Shape("cuboid", 1.25, (0.0, 1.0), depth=0.42, gloss=0.1),
    "packet": Shape("cuboid", 0.69, (0.0, 1.0), depth=0.3, gloss=0.1),
    "pouch": Shape("sheet", 0.66, (0.10, 0.97), gloss=0.3, seal=(0.07, 0.0), outline=(
        (0.0, 0.95), (0.10, 0.94), (0.5, 0.965), (0.9, 1.0), (0.97, 0.98), (1.0, 0.93))),
    "bag": Shape("sheet", 0.70, (0.07, 0.93), gloss=0.5, seal=(0.05, 0.05), outline=(
        (0.0, 0.97), (0.06, 0.95), (0.18, 0.985), (0.5, 1.0), (0.82, 0.985), (0.94, 0.95), (1.0, 0.97))),
    "tube": Shape("sheet", 0.36, (0.05, 0.82), (0.86, 1.0), gloss=0.35, seal=(0.035, 0.0), outline=(
        (0.0, 1.0), (0.04, 1.0), (0.5, 0.94), (0.80, 0.80), (0.85, 0.66), (0.86, 0.52), (0.861, 0.62), (0.98, 0.54),
        (1.0, 0.5))),
    "bar": Shape("sheet", 2.1, (0.0, 1.0), gloss=0.3, seal=(0.04, 0.04)),
}  # fmt: skip
"""The shapes, by the name that a product gives."""
