"""A SKU's pack as it looks when turned: the printed face bent around its shape, shaded by the light.

Posed pictures are `layers`: RGBA with premultiplied alpha.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from PIL import ImageColor

from shelfmark.core.rng import numpy_generator
from shelfmark.shop.catalogue import Sku
from shelfmark.shop.facets import Facet, cuboid_facets, projected_facets, sheet_facet
from shelfmark.shop.labels import METAL, ROUND_FACE_DEG, cap_color, face_pixels
from shelfmark.shop.layers import over
from shelfmark.shop.shapes import SHAPES, Shape

MARGIN_PX = 20
LID_RINGS = ((1.0, 0.80), (0.90, 1.06), (0.82, 0.92))
"""(size, brightness) of a lid's rim and of its inside."""


@dataclass(frozen=True)
class Pose:
    """yaw_deg: turn about the vertical axis. pitch_deg: how far the camera looks down. light: the side that
    it comes from, -1 left to 1 right."""

    yaw_deg: float
    pitch_deg: float
    light: float


@dataclass(frozen=True, eq=False)
class Pack:
    """face: (H, W, 3) uint8. facets: the flat faces of a pack that is not round."""

    shape: Shape
    face: np.ndarray
    facets: tuple[Facet, ...]
    lid_color: tuple[int, ...]

    def posed(self, pose: Pose) -> np.ndarray:
        """The pack in a pose: RGBA, premultiplied, with a margin around it."""
        if self.shape.geometry == "round":
            return _turned(self, pose)
        return projected_facets(self.facets, pose.yaw_deg, pose.pitch_deg, pose.light, MARGIN_PX)


@lru_cache(maxsize=512)
def pack_of(sku: Sku) -> Pack:
    """The SKU's pack; drawn once in each process."""
    family = sku.family
    shape, face = SHAPES[family.product.shape], face_pixels(sku)
    facets: tuple[Facet, ...] = ()
    if shape.geometry == "cuboid":
        facets = cuboid_facets(shape, face, family.palette.base, cap_color(sku))
    if shape.geometry == "sheet":
        facets = (sheet_facet(shape, face, numpy_generator(family.seed, "shop.folds")),)
    return Pack(shape, face, facets, ImageColor.getrgb(METAL if shape.metal else cap_color(sku)))


def _turned(pack: Pack, pose: Pose) -> np.ndarray:
    """A body of revolution under a camera far away.

    Its ring at height h appears as an ellipse, lowest at the front: `row = h + bulge * half * cos(angle)`.
    So the angle and height that a pixel shows follow from its place, by a short fixed-point iteration.
    """
    width, height = pack.shape.size_px
    bulge = math.sin(math.radians(pose.pitch_deg)) * width / 2
    margin = MARGIN_PX + math.ceil(abs(bulge))
    ys, xs = np.mgrid[-margin : height + margin, -margin : width + margin].astype(np.float32)
    across = (xs - (width - 1) / 2) / (width / 2)
    half_widths = pack.shape.half_widths(np.linspace(0, 1, height)).astype(np.float32)
    rows = ys - bulge
    for _ in range(2):
        half = half_widths[np.clip(rows, 0, height - 1).astype(np.intp)]
        sine = across / half
        rows = ys - bulge * half * np.sqrt(np.clip(1 - sine * sine, 0, 1))
    alpha = np.clip((1 - np.abs(sine)) * half * (width / 2) + 0.5, 0, 1)
    alpha *= np.clip(rows + 0.5, 0, 1) * np.clip(height - 0.5 - rows, 0, 1)
    angle, shade, shine = _round_surface(pose.light, pack.shape.gloss)
    step = (np.clip(sine, -1, 1) * 255.5 + 255.5).astype(np.intp)
    columns = ((angle - pose.yaw_deg) / ROUND_FACE_DEG + 0.5).astype(np.float32)[step] * (pack.face.shape[1] - 1)
    color = cv2.remap(pack.face, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    lit = np.clip(color * shade[step][..., None] + shine[step][..., None], 0, 255) * alpha[..., None]
    front = np.dstack([lit, alpha * 255]).round().astype(np.uint8)
    return over(_lid(pack, bulge, margin, front), front)


def _round_surface(light: float, gloss: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angle in degrees, factor of shade and added highlight at 512 places from the left edge to the right:
    soft light from one side, dark edges and an upright highlight."""
    sine = np.linspace(-1, 1, 512)
    facing = np.cos(np.arcsin(sine) - light * 0.9)
    shine = 110 * np.exp(-(((sine - light * 0.62) / 0.10) ** 2)) + 50 * np.exp(-(((sine + 0.80) / 0.06) ** 2))
    shade = 0.50 + 0.52 * np.clip(facing, 0, 1)
    return np.degrees(np.arcsin(sine)), shade.astype(np.float32), (gloss * shine).astype(np.float32)


def _lid(pack: Pack, bulge: float, margin: int, front: np.ndarray) -> np.ndarray:
    """The top of a round pack, seen behind its front by a camera that looks down."""
    width, _ = pack.shape.size_px
    top = pack.shape.outline[0][1]
    picture = np.zeros_like(front)
    center = (margin + (width - 1) / 2, margin + 0.5)
    for part, shade in LID_RINGS:
        color = [min(255, round(value * shade)) for value in pack.lid_color]
        axes = (width * top * part, abs(bulge) * top * part * 2)
        cv2.ellipse(picture, (center, axes, 0.0), (*color, 255), -1, cv2.LINE_AA)
    return picture
