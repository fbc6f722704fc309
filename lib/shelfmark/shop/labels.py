"""The printed face of a SKU's pack: livery of the family, details of the member.

The face is the pack's front unrolled: on a round pack it spans 120 degrees around it.
"""

from __future__ import annotations

import math

import numpy as np

from shelfmark.shop.catalogue import Sku
from shelfmark.shop.icons import draw_icon
from shelfmark.shop.panel import Box, Panel, mixed, readable_on
from shelfmark.shop.shapes import SHAPES

ROUND_FACE_DEG = 120.0
METAL, JAM = "#c8ccd0", "#5c1f2a"
BLACK, WHITE = "#000000", "#ffffff"


def face_pixels(sku: Sku) -> np.ndarray:
    """(height, width, 3) uint8: everything that is printed on the front, caps and rims included."""
    shape = SHAPES[sku.family.product.shape]
    width, height = shape.size_px
    if shape.geometry == "round":
        width = round(width / 2 * math.radians(ROUND_FACE_DEG))
    panel = Panel(width, height, body_color(sku))
    zone = (0.0, shape.label[0] * height, float(width), shape.label[1] * height)
    panel.rectangle(zone, sku.family.palette.base)
    LIVERIES[sku.family.layout](panel, zone, sku)
    if shape.metal:
        panel.rectangle((0, 0, width, zone[1]), METAL)
        panel.rectangle((0, zone[3], width, height), METAL)
    if shape.cap[1]:
        _draw_cap(panel, sku)
    return panel.pixels()


def body_color(sku: Sku) -> str:
    """The colour of the pack itself; a jar shows what is in it."""
    return JAM if sku.family.product.shape == "jar" else sku.family.palette.base


def cap_color(sku: Sku) -> str:
    """The cap's or lid's colour, which tells the members of some families apart."""
    return sku.flavour.color if "cap" in sku.family.cues else sku.family.palette.second


def _draw_cap(panel: Panel, sku: Sku) -> None:
    top, bottom = (part * panel.height for part in SHAPES[sku.family.product.shape].cap)
    color = cap_color(sku)
    panel.rectangle((0, top, panel.width, bottom), color)
    step = panel.width / 26
    for ridge in range(26):
        panel.line([(ridge * step, top + 3), (ridge * step, bottom - 2)], mixed(color, BLACK, 0.18), step * 0.3)
    panel.rectangle((0, bottom - 2, panel.width, bottom), mixed(color, BLACK, 0.35))


def _band(panel: Panel, zone: Box, sku: Sku) -> None:
    """A wide band of paper across the pack, the brand on it; the flavour below."""
    palette = sku.family.palette
    panel.rectangle(_part(zone, 0, 0.10, 1, 0.46), palette.paper)
    for edge in (0.10, 0.44):
        panel.rectangle(_part(zone, 0, edge, 1, edge + 0.02), palette.second)
    _brand(panel, _part(zone, 0.12, 0.15, 0.88, 0.32), sku, palette.ink)
    _product(panel, _part(zone, 0.22, 0.345, 0.78, 0.42), sku, palette.ink)
    _details(panel, _part(zone, 0.10, 0.52, 0.90, 0.95), sku, palette.base)


def _oval(panel: Panel, zone: Box, sku: Sku) -> None:
    """The brand in an oval of the second colour."""
    palette = sku.family.palette
    panel.ellipse(_part(zone, 0.10, 0.06, 0.90, 0.46), palette.second, palette.paper, 3)
    _brand(panel, _part(zone, 0.20, 0.16, 0.80, 0.31), sku, readable_on(palette.second, palette.ink))
    _product(panel, _part(zone, 0.28, 0.33, 0.72, 0.40), sku, readable_on(palette.second, palette.ink))
    _details(panel, _part(zone, 0.10, 0.50, 0.90, 0.95), sku, palette.base)


def _panel(panel: Panel, zone: Box, sku: Sku) -> None:
    """A framed paper label that holds everything."""
    palette = sku.family.palette
    panel.rectangle(_part(zone, 0.06, 0.05, 0.94, 0.95), palette.paper, 5)
    panel.rectangle(_part(zone, 0.09, 0.075, 0.91, 0.925), palette.paper, 4, palette.second, 2)
    _brand(panel, _part(zone, 0.16, 0.12, 0.84, 0.28), sku, palette.ink)
    panel.rectangle(_part(zone, 0.30, 0.30, 0.70, 0.312), palette.second)
    _product(panel, _part(zone, 0.24, 0.335, 0.76, 0.415), sku, palette.ink)
    _details(panel, _part(zone, 0.14, 0.45, 0.86, 0.90), sku, palette.paper)


def _wave(panel: Panel, zone: Box, sku: Sku) -> None:
    """Two colours that meet in a wave."""
    palette = sku.family.palette
    left, top, right, bottom = zone
    steps = [(step / 24, 0.46 + 0.05 * math.sin(step / 24 * 2 * math.pi)) for step in range(25)]
    for lift, color in ((0.03, palette.second), (0.0, palette.paper)):
        line = [(left + x * (right - left), top + (y - lift) * (bottom - top)) for x, y in steps]
        panel.polygon([*line, (right, bottom), (left, bottom)], color)
    ink = readable_on(palette.base, palette.ink)
    _brand(panel, _part(zone, 0.12, 0.08, 0.88, 0.26), sku, ink)
    _product(panel, _part(zone, 0.25, 0.285, 0.75, 0.36), sku, ink)
    _details(panel, _part(zone, 0.10, 0.53, 0.90, 0.95), sku, palette.paper)


def _arch(panel: Panel, zone: Box, sku: Sku) -> None:
    """A paper label with a round head; the details stand in it, the brand on a bar across its foot."""
    palette = sku.family.palette
    left, top, right, bottom = _part(zone, 0.10, 0.04, 0.90, 0.96)
    head = min((right - left), (bottom - top) * 0.7)
    panel.ellipse((left, top, right, top + head), palette.paper)
    panel.rectangle((left, top + head / 2, right, bottom), palette.paper)
    _details(panel, _part(zone, 0.18, 0.10, 0.82, 0.60), sku, palette.paper)
    panel.rectangle(_part(zone, 0.0, 0.63, 1.0, 0.84), palette.second)
    _brand(panel, _part(zone, 0.14, 0.66, 0.86, 0.81), sku, readable_on(palette.second, palette.ink))
    _product(panel, _part(zone, 0.26, 0.87, 0.74, 0.935), sku, palette.ink)


def _plain(panel: Panel, zone: Box, sku: Sku) -> None:
    """Nothing but lettering on the pack's colour."""
    palette = sku.family.palette
    panel.fade(zone, mixed(palette.base, palette.second, 0.6), 0.7)
    ink = readable_on(palette.base, palette.ink)
    panel.rectangle(_part(zone, 0.12, 0.05, 0.88, 0.065), ink)
    _brand(panel, _part(zone, 0.10, 0.10, 0.90, 0.30), sku, ink)
    _product(panel, _part(zone, 0.20, 0.33, 0.80, 0.41), sku, ink)
    _details(panel, _part(zone, 0.12, 0.46, 0.88, 0.94), sku, palette.base)


LIVERIES = {"band": _band, "oval": _oval, "panel": _panel, "wave": _wave, "arch": _arch, "plain": _plain}


def _brand(panel: Panel, box: Box, sku: Sku, ink: str) -> None:
    family = sku.family
    text = family.brand.upper() if family.upper else family.brand
    panel.text(box, text, ink, family.weight, family.slant)


def _product(panel: Panel, box: Box, sku: Sku, ink: str) -> None:
    panel.text(box, sku.family.product.name, ink, 0)


def _details(panel: Panel, box: Box, sku: Sku, ground: str) -> None:
    """What tells a member from its siblings: the word always, and the family's cues."""
    family = sku.family
    ink = readable_on(ground, family.palette.ink)
    lies = (box[2] - box[0]) > 2.2 * (box[3] - box[1])
    picture = _part(box, 0.0, 0.0, 0.40, 1.0) if lies else _part(box, 0.0, 0.0, 1.0, 0.58)
    _word(panel, _part(box, 0.43, 0.14, 1.0, 0.66) if lies else _part(box, 0.0, 0.61, 1.0, 0.92), sku, ink)
    panel.text(_part(box, 0.56, 0.78, 0.88, 0.94) if lies else _part(box, 0.28, 0.94, 0.72, 1.0),
               family.product.amount, ink, 0)  # fmt: skip
    if "badge" in family.cues:
        _badge(panel, _part(picture, 0.60, 0.0, 1.0, 1.0), sku)
        picture = _part(picture, 0.0, 0.0, 0.54, 1.0)
    if "stripes" in family.cues:
        _stripes(panel, picture, sku, ink)
    elif "icon" in family.cues:
        _icon(panel, picture, sku, ground)
    else:
        mark = family.palette.second if ink == WHITE else ink
        draw_icon(panel, family.product.flavours[0].icon, _middle(picture), _radius(picture) * 0.9, mark)


def _word(panel: Panel, box: Box, sku: Sku, ink: str) -> None:
    """The flavour's word, on a strip of the flavour's colour where that is one of the cues."""
    flavour = sku.flavour
    if "tint" in sku.family.cues:
        panel.rectangle(box, flavour.color, 3)
        panel.text(_part(box, 0.07, 0.16, 0.93, 0.84), flavour.word, readable_on(flavour.color, "#20242a"), 2)
    else:
        panel.text(_part(box, 0.02, 0.08, 0.98, 0.92), flavour.word, ink, 2)


def _icon(panel: Panel, box: Box, sku: Sku, ground: str) -> None:
    """The flavour's picture, on a white disc where the ground would swallow its colour."""
    center, radius = _middle(box), _radius(box) * 0.96
    color = sku.flavour.color
    if ground != WHITE:
        panel.disc(center, radius, WHITE)
    draw_icon(panel, sku.flavour.icon, center, radius * 0.72, color)


def _stripes(panel: Panel, box: Box, sku: Sku, ink: str) -> None:
    """One to three bars, slim or bold."""
    count, bold = sku.member % 3 + 1, sku.member >= 3
    color = sku.flavour.color if bold else ink
    pitch = (box[3] - box[1]) / 3.4
    thick = pitch * (0.72 if bold else 0.4)
    start = _middle(box)[1] - pitch * (count - 1) / 2
    for bar in range(count):
        y = start + bar * pitch
        panel.rectangle((box[0], y - thick / 2, box[2], y + thick / 2), color, 1)


def _badge(panel: Panel, box: Box, sku: Sku) -> None:
    """A round seal with the member's number."""
    center, radius = _middle(box), _radius(box) * 0.9
    color = sku.family.palette.second if sku.member % 2 else sku.flavour.color
    panel.disc(center, radius * 1.12, WHITE)
    panel.disc(center, radius, color)
    seal = (center[0] - radius * 0.7, center[1] - radius * 0.62, center[0] + radius * 0.7, center[1] + radius * 0.62)
    panel.text(seal, f"{sku.member + 1}", readable_on(color, "#20242a"), 3)


def _part(box: Box, left: float, top: float, right: float, bottom: float) -> Box:
    """The part of a box between fractions of its sides."""
    width, height = box[2] - box[0], box[3] - box[1]
    return box[0] + left * width, box[1] + top * height, box[0] + right * width, box[1] + bottom * height


def _middle(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _radius(box: Box) -> float:
    return min(box[2] - box[0], box[3] - box[1]) / 2
