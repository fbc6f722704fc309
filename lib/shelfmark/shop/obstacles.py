"""What gets between the camera and a pack: fingers, price tags, the edge of a shelf."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from shelfmark.shop.panel import Panel, mixed, readable_on
from shelfmark.shop.surfaces import one_of

SKIN = ((232, 190, 160), (205, 150, 115), (160, 108, 76), (104, 68, 48), (245, 212, 188))
TAG_COLORS = ("#ffe23c", "#fafaf6", "#e43c34", "#ffffff")
NUM_PRICES = 16
FINGER_LENGTHS = (0.86, 1.0, 0.94, 0.72)
SUPERSAMPLING = 4


def fingers(rng: np.random.Generator, pack: np.ndarray) -> np.ndarray:
    """(side, side, 4) RGBA, premultiplied: a hand that holds the pack of a layer from the left or the right."""
    side = pack.shape[0]
    left, top, width, height = (value / side for value in cv2.boundingRect(pack[..., 3]))
    from_right = rng.random() < 0.5
    if from_right:
        left = 1 - left - width
    canvas = np.zeros((side * SUPERSAMPLING, side * SUPERSAMPLING, 4), np.uint8)
    skin = np.array(one_of(rng, SKIN), np.float64)
    thick, reach = rng.uniform(0.062, 0.078), width * rng.uniform(0.16, 0.34)
    palm = (left - rng.uniform(0.07, 0.12), top + height * rng.uniform(0.40, 0.75))
    # The forearm comes from below, outside the picture.
    _limb(canvas, (palm[0] - 0.5, palm[1] + rng.uniform(0.15, 0.5)), palm, thick * 3.0, thick * 3.4, skin * 0.94)
    for finger, length in enumerate(FINGER_LENGTHS[: int(rng.integers(3, 5))]):
        y = palm[1] + (finger - 1.4) * thick * 0.92
        tip = (left + reach * length + rng.normal(0, 0.006), y + (finger - 1.4) * 0.012)
        _limb(canvas, (palm[0], y), tip, thick * 1.12, thick * 0.86, skin)
        _nail(canvas, tip, thick, skin)
    picture = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(picture[:, ::-1]) if from_right else picture


@lru_cache(maxsize=64)
def price_tag(color: str, number: int) -> np.ndarray:
    """(30, 56, 4) RGBA: a tag with a price on it, one of NUM_PRICES."""
    panel = Panel(56, 30, mixed(color, "#000000", 0.4))
    panel.rectangle((1, 1, 55, 29), color)
    panel.text(
        (6, 5, 50, 25), f"{number % 9 + 1}.{number * 7 % 10}{(5, 9)[number % 2]}", readable_on(color, "#1c1c20"), 3
    )
    return np.dstack([panel.pixels(), np.full((30, 56), 255, np.uint8)])


def _limb(
    canvas: np.ndarray,
    root: tuple[float, float],
    tip: tuple[float, float],
    root_thick: float,
    tip_thick: float,
    skin: np.ndarray,
) -> None:
    """A finger or an arm, tapered from its root to its tip, from a dark outline to a light upper side."""
    full = canvas.shape[0]
    for part, shade, lift in ((1.0, 0.66, 0.0), (0.90, 0.86, 0.03), (0.66, 1.0, 0.09), (0.34, 1.07, 0.17)):
        color = (*np.clip(skin * shade, 0, 255).round().tolist(), 255)
        for step in np.linspace(0, 1, 20):
            thick = (root_thick + (tip_thick - root_thick) * step) * full
            x, y = ((start + (end - start) * step) * full for start, end in zip(root, tip))
            center = (round(x), round(y - lift * thick))
            cv2.circle(canvas, center, max(1, round(thick * part / 2)), color, -1, cv2.LINE_AA)


def _nail(canvas: np.ndarray, tip: tuple[float, float], thick: float, skin: np.ndarray) -> None:
    size = thick * canvas.shape[0]
    center = (round(tip[0] * canvas.shape[0] + size * 0.10), round(tip[1] * canvas.shape[0] - size * 0.10))
    color = (*np.clip(skin * 0.6 + 100, 0, 255).round().tolist(), 255)
    cv2.ellipse(canvas, center, (round(size * 0.24), round(size * 0.19)), 0, 0, 360, color, -1, cv2.LINE_AA)
