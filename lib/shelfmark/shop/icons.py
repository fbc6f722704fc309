"""The small pictures on labels: each is drawn around a centre, within a radius, in one colour."""

from __future__ import annotations

import math
from collections.abc import Callable

from shelfmark.shop.panel import Panel, Point, around, mixed

WHITE = "#ffffff"
LEAF_GREEN = "#2f9e44"


def draw_icon(panel: Panel, name: str, center: Point, radius: float, color: str) -> None:
    """Draws the picture called `name` (a key of ICONS)."""
    ICONS[name](panel, center, radius, color)


def _citrus(panel: Panel, center: Point, radius: float, color: str) -> None:
    panel.disc(center, radius, color)
    panel.disc(center, radius * 0.82, WHITE)
    for start in range(0, 360, 60):
        panel.polygon([center, *around(center, radius * 0.74, range(start + 5, start + 56, 10))], color)


def _apple(panel: Panel, center: Point, radius: float, color: str) -> None:
    x, y = center
    for side in (-1, 1):
        panel.disc((x + side * radius * 0.32, y + radius * 0.22), radius * 0.64, color)
    panel.line([(x, y - radius * 0.3), (x + radius * 0.12, y - radius)], mixed(color, "#000000", 0.5), radius * 0.2)
    _blade(panel, (x + radius * 0.1, y - radius * 0.55), radius * 0.75, 70, LEAF_GREEN)


def _cherry(panel: Panel, center: Point, radius: float, color: str) -> None:
    x, y = center
    stem = (x + radius * 0.3, y - radius)
    for fruit in ((x - radius * 0.5, y + radius * 0.45), (x + radius * 0.5, y + radius * 0.55)):
        panel.line([stem, fruit], LEAF_GREEN, radius * 0.16)
        panel.disc(fruit, radius * 0.46, color)
        panel.disc((fruit[0] - radius * 0.15, fruit[1] - radius * 0.15), radius * 0.12, mixed(color, WHITE, 0.7))


def _drop(panel: Panel, center: Point, radius: float, color: str) -> None:
    x, y = center
    low = (x, y + radius * 0.3)
    panel.polygon([(x, y - radius), *around(low, radius * 0.68, range(60, 301, 15))], color)
    panel.disc((x - radius * 0.25, y + radius * 0.35), radius * 0.16, mixed(color, WHITE, 0.7))


def _berries(panel: Panel, center: Point, radius: float, color: str) -> None:
    x, y = center
    for row, count in enumerate((3, 2, 1)):
        for place in range(count):
            fruit = (x + (place - (count - 1) / 2) * radius * 0.62, y + (row - 0.75) * radius * 0.56)
            panel.disc(fruit, radius * 0.36, mixed(color, "#000000", 0.12 * ((row + place) % 2)))
    _blade(panel, (x, y - radius * 0.6), radius * 0.8, 50, LEAF_GREEN)


def _flower(panel: Panel, center: Point, radius: float, color: str) -> None:
    for petal in around(center, radius * 0.6, range(0, 360, 72)):
        panel.disc(petal, radius * 0.4, color)
    panel.disc(center, radius * 0.28, "#ffe066")


def _grain(panel: Panel, center: Point, radius: float, color: str) -> None:
    x, y = center
    panel.line([(x, y + radius), (x, y - radius * 0.6)], color, radius * 0.14)
    for height in (0.55, 0.1, -0.35):
        for side in (-1, 1):
            _blade(panel, (x, y + height * radius), radius * 0.7, side * 40, color)
    _blade(panel, (x, y - radius * 0.4), radius * 0.6, 0, color)


def _bean(panel: Panel, center: Point, radius: float, color: str) -> None:
    x, y = center
    for dx, dy in ((-0.38, 0.3), (0.4, -0.28)):
        at = (x + dx * radius, y + dy * radius)
        panel.ellipse(
            (at[0] - radius * 0.52, at[1] - radius * 0.68, at[0] + radius * 0.52, at[1] + radius * 0.68), color
        )
        curve = [(at[0] + radius * 0.14 * math.sin(step), at[1] + radius * step / 5) for step in range(-3, 4)]
        panel.line(curve, mixed(color, WHITE, 0.55), radius * 0.13)


def _cup(panel: Panel, center: Point, radius: float, color: str) -> None:
    x, y = center
    panel.ellipse((x + radius * 0.2, y - radius * 0.2, x + radius, y + radius * 0.5), WHITE, color, radius * 0.18)
    panel.rectangle((x - radius * 0.8, y - radius * 0.3, x + radius * 0.6, y + radius * 0.75), color, radius * 0.3)
    for dx in (-0.4, 0.1):
        panel.line([(x + dx * radius, y - radius * 0.45), (x + (dx + 0.15) * radius, y - radius)], color, radius * 0.14)


def _nut(panel: Panel, center: Point, radius: float, color: str) -> None:
    x, y = center
    panel.polygon([(x, y + radius), *around((x, y), radius * 0.8, range(-110, 111, 20))], color)
    panel.rectangle((x - radius * 0.86, y - radius * 0.8, x + radius * 0.86, y - radius * 0.15),
                    mixed(color, "#000000", 0.4), radius * 0.3)  # fmt: skip


def _sun(panel: Panel, center: Point, radius: float, color: str) -> None:
    for ray in range(0, 360, 45):
        panel.polygon([*around(center, radius * 0.62, (ray - 16, ray + 16)), *around(center, radius, (ray,))], color)
    panel.disc(center, radius * 0.52, color)


def _leaf(panel: Panel, center: Point, radius: float, color: str) -> None:
    x, y = center
    base = (x - radius * 0.1, y + radius)
    for angle in (-38, 38, 0):
        _blade(panel, base, radius * (1.95 if angle == 0 else 1.5), angle, mixed(color, "#000000", abs(angle) / 160))


def _star(panel: Panel, center: Point, radius: float, color: str) -> None:
    outer, inner = around(center, radius, range(0, 360, 72)), around(center, radius * 0.45, range(36, 396, 72))
    panel.polygon([point for pair in zip(outer, inner) for point in pair], color)


def _heart(panel: Panel, center: Point, radius: float, color: str) -> None:
    x, y = center
    for side in (-1, 1):
        panel.disc((x + side * radius * 0.45, y - radius * 0.3), radius * 0.5, color)
    panel.polygon(
        [(x - radius * 0.9, y - radius * 0.1), (x + radius * 0.9, y - radius * 0.1), (x, y + radius * 0.9)], color
    )


def _wave(panel: Panel, center: Point, radius: float, color: str) -> None:
    x, y = center
    for row in (-0.55, 0.0, 0.55):
        steps = range(-10, 11)
        panel.line(
            [(x + radius * s / 10, y + radius * (row + 0.2 * math.sin(s * 0.62))) for s in steps], color, radius * 0.26
        )


def _mountain(panel: Panel, center: Point, radius: float, color: str) -> None:
    x, y = center
    for dx, height, shade in ((0.4, 1.1, 0.25), (-0.2, 1.7, 0.0)):
        peak = (x + dx * radius, y + radius * (0.8 - height))
        foot = y + radius * 0.8
        half = height * radius * 0.5
        panel.polygon([peak, (peak[0] + half, foot), (peak[0] - half, foot)], mixed(color, WHITE, shade))
        snow = [peak, (peak[0] + half * 0.3, peak[1] + half * 0.6), (peak[0] - half * 0.3, peak[1] + half * 0.6)]
        panel.polygon(snow, mixed(color, WHITE, 0.7))


def _blade(panel: Panel, base: Point, length: float, angle_deg: float, color: str) -> None:
    """One pointed leaf that grows from `base`; 0 degrees is straight up."""
    tip = around(base, length, (angle_deg,))[0]
    sides = around(base, length * 0.58, (angle_deg - 24, angle_deg + 24))
    low = around(base, length * 0.3, (angle_deg + 26, angle_deg - 26))
    panel.polygon([base, low[1], sides[0], tip, sides[1], low[0]], color)


ICONS: dict[str, Callable[[Panel, Point, float, str], None]] = {
    "apple": _apple, "bean": _bean, "berries": _berries, "cherry": _cherry, "citrus": _citrus, "cup": _cup,
    "drop": _drop, "flower": _flower, "grain": _grain, "heart": _heart, "leaf": _leaf, "mountain": _mountain,
    "nut": _nut, "star": _star, "sun": _sun, "wave": _wave,
}  # fmt: skip
