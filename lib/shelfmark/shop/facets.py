"""Packs made of flat faces: cuboids and sheets, under a perspective camera.

Axes: x right, y up, z towards the camera; the unit is the width of the pack's face.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import ImageColor

from shelfmark.shop.layers import over
from shelfmark.shop.panel import mixed
from shelfmark.shop.shapes import Shape

CAMERA_DISTANCE = 6.0
NO_SLOPE = np.zeros((1, 1, 2), np.float32)


@dataclass(frozen=True, eq=False)
class Facet:
    """texture: (h, w, 4) uint8 RGBA, premultiplied; one pixel for a plain facet. corners: (4, 3), clockwise
    from the top left, as seen from outside. slope: (h, w, 2) of a sheet's relief to the right and down, or
    NO_SLOPE."""

    texture: np.ndarray
    corners: np.ndarray
    slope: np.ndarray
    gloss: float


def projected_facets(
    facets: Sequence[Facet], yaw_deg: float, pitch_deg: float, light: float, margin_px: int
) -> np.ndarray:
    """The facets that face the camera, far ones first: RGBA, premultiplied, as large as they need.

    light: the side that it comes from, -1 left to 1 right; it also comes from above and the front.
    """
    turn = _rotation(yaw_deg, pitch_deg)
    turned = [facet.corners @ turn.T for facet in facets]
    # All textures have the scale of the first, the face: its width in pixels is the unit.
    flat = [_perspective(corners) * facets[0].texture.shape[1] for corners in turned]
    low = np.min([points.min(axis=0) for points in flat], axis=0) - margin_px
    width, height = np.ceil(np.max([points.max(axis=0) for points in flat], axis=0) + margin_px - low).astype(int)
    picture = np.zeros((height, width, 4), np.uint8)
    direction = np.array([light, 0.6, 0.9]) / math.hypot(light, 0.6, 0.9)
    for index in sorted(range(len(facets)), key=lambda index: turned[index][:, 2].mean()):
        target = (flat[index] - low).astype(np.float32)
        if _area(target) > 1:
            _draw(picture, facets[index], target, float(_normal(turned[index]) @ direction), light)
    return picture


def cuboid_facets(shape: Shape, face: np.ndarray, color: str, second: str) -> tuple[Facet, ...]:
    """A box: its front is the face, its sides are plain with a panel of small print; perhaps a gable on top."""
    w, h, d = 0.5, 0.5 / shape.aspect, shape.depth / 2
    unit = face.shape[1]
    corners = [np.array([[-w, h, d], [w, h, d], [w, -h, d], [-w, -h, d]])]
    textures = [face]
    for side in (1.0, -1.0):
        corners.append(np.array([[side * w, h, side * d], [side * w, h, -side * d],
                                 [side * w, -h, -side * d], [side * w, -h, side * d]]))  # fmt: skip
        textures.append(_side_texture(round(unit * shape.depth), face.shape[0], color, second))
    if shape.roof:
        for points, texture in _gable(w, h, d, shape.roof, unit, color, second):
            corners.append(points)
            textures.append(texture)
    else:
        corners.append(np.array([[-w, h, -d], [w, h, -d], [w, h, d], [-w, h, d]]))
        textures.append(_plain(1, 1, mixed(color, "#ffffff", 0.08)))
    return tuple(Facet(_opaque(picture), points, NO_SLOPE, shape.gloss) for picture, points in zip(textures, corners))


def sheet_facet(shape: Shape, face: np.ndarray, rng: np.random.Generator) -> Facet:
    """A flat pack cut to its outline, with the relief of what is in it, its folds and its crimped seals."""
    height, width = face.shape[:2]
    rows, columns = np.linspace(0, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
    half = shape.half_widths(rows)
    alpha = np.clip((half - np.abs(columns)) * width / 2 + 0.5, 0, 1)
    texture = np.dstack([face * alpha[..., None], alpha * 255]).round().astype(np.uint8)
    inside = np.clip(columns / half, -1, 1)
    bulge = (1 - np.abs(inside) ** 3) * (1 - np.abs(2 * rows - 1) ** 4) * 26
    folds = cv2.resize(rng.random((7, 5), dtype=np.float32), (width, height), interpolation=cv2.INTER_CUBIC) * 9
    slope = np.dstack(np.gradient(bulge + folds)[::-1]).astype(np.float32)
    _crimp(slope, shape, lies=shape.aspect > 1)
    corners = np.array([[-0.5, 0.5, 0], [0.5, 0.5, 0], [0.5, -0.5, 0], [-0.5, -0.5, 0]]) * [1, height / width, 1]
    return Facet(texture, corners, slope, shape.gloss)


def _draw(picture: np.ndarray, facet: Facet, target: np.ndarray, facing: float, light: float) -> None:
    """Warps one facet onto the picture, in place; facing: the cosine between its normal and the light."""
    shaded = _shaded(facet, 0.48 + 0.56 * max(0.0, facing), light)
    if shaded.shape[:2] == (1, 1):
        points = np.rint(target * 16).astype(np.int32)
        cv2.fillConvexPoly(picture, points, shaded[0, 0].tolist(), cv2.LINE_AA, shift=4)
        return
    height, width = shaded.shape[:2]
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) - 0.5
    matrix = cv2.getPerspectiveTransform(source, target)
    layer = cv2.warpPerspective(shaded, matrix, picture.shape[1::-1], flags=cv2.INTER_LINEAR)
    picture[:] = over(picture, layer)


def _shaded(facet: Facet, brightness: float, light: float) -> np.ndarray:
    """The facet's texture in the light; colour never exceeds its alpha."""
    if facet.slope is NO_SLOPE:
        scale = cv2.convertScaleAbs(facet.texture, alpha=brightness)
        scale[..., 3] = facet.texture[..., 3]
        return np.minimum(scale, facet.texture[..., 3:])
    across, down = facet.slope[..., 0], facet.slope[..., 1]
    # A surface that rises to the right turns away from a light on the right.
    shade = brightness * (1.06 - 0.42 * across * light - 0.22 * down)
    shine = facet.gloss * 130 * np.exp(-(((across + light * 0.55) ** 2 + (down + 0.25) ** 2) / 0.05))
    alpha = facet.texture[..., 3:]
    color = facet.texture[..., :3] * shade[..., None] + (shine * (alpha[..., 0] / np.float32(255)))[..., None]
    return np.dstack([np.clip(color, 0, alpha), alpha]).astype(np.uint8)


def _crimp(slope: np.ndarray, shape: Shape, lies: bool) -> None:
    """Fine ridges along the seals, at the top and foot of a pack, or at both ends of one that lies."""
    length = slope.shape[1] if lies else slope.shape[0]
    for part, end in zip(shape.seal, (False, True)):
        size = round(part * length)
        if not size:
            continue
        ridges = np.sin(np.arange(size) * 1.9).astype(np.float32) * 0.8
        zone = slice(length - size, length) if end else slice(0, size)
        if lies:
            slope[:, zone, 0], slope[:, zone, 1] = ridges[None, :], 0.0
        else:
            slope[zone, :, 1], slope[zone, :, 0] = ridges[:, None], 0.0


def _gable(
    w: float, h: float, d: float, roof: float, unit: int, color: str, second: str
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The slope to the front with its screw cap, the two folded ends and the fin on the ridge."""
    top, fin = h + roof, h + roof + 0.14
    slope = _plain(unit, round(unit * math.hypot(roof, d)), color)
    center, radius = (unit // 2, slope.shape[0] * 9 // 20), unit // 7
    cv2.circle(slope, center, radius + 2, _rgb(mixed(second, "#000000", 0.35)), -1, cv2.LINE_AA)
    cv2.circle(slope, center, radius, _rgb(second), -1, cv2.LINE_AA)
    cv2.circle(slope, center, radius * 2 // 3, _rgb(mixed(second, "#ffffff", 0.25)), -1, cv2.LINE_AA)
    parts = [
        (np.array([[-w, top, 0], [w, top, 0], [w, h, d], [-w, h, d]]), slope),
        (np.array([[-w, fin, 0], [w, fin, 0], [w, top, 0], [-w, top, 0]]), _plain(1, 1, mixed(color, "#ffffff", 0.15))),
    ]
    for side in (1.0, -1.0):
        corners = [[side * w, top, 0], [side * w, top, 0], [side * w, h, -side * d], [side * w, h, side * d]]
        parts.append((np.array(corners), _plain(1, 1, mixed(color, "#000000", 0.12))))
    return parts


def _side_texture(width: int, height: int, color: str, second: str) -> np.ndarray:
    """A plain side with a pale panel of small print."""
    side = _plain(width, height, mixed(color, "#000000", 0.05))
    left, right, top, bottom = width // 5, width * 4 // 5, height // 3, height * 5 // 6
    side[top:bottom, left:right] = _rgb(mixed(color, "#ffffff", 0.75))
    for row in range(top + 4, bottom - 3, 5):
        side[row : row + 2, left + 3 : right - 3 - row % 7] = _rgb("#6c757d")
    side[height // 8 : height // 5, left:right] = _rgb(second)
    return side


def _plain(width: int, height: int, color: str) -> np.ndarray:
    return np.full((height, width, 3), _rgb(color), np.uint8)


def _opaque(picture: np.ndarray) -> np.ndarray:
    return np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])


def _rgb(color: str) -> tuple[int, ...]:
    return ImageColor.getrgb(color)


def _rotation(yaw_deg: float, pitch_deg: float) -> np.ndarray:
    """(3, 3): a turn to the right about the upright axis, then a tilt of the top towards the camera."""
    yaw, pitch = math.radians(yaw_deg), math.radians(pitch_deg)
    about_y = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]])
    return about_x @ about_y


def _perspective(points: np.ndarray) -> np.ndarray:
    """(n, 3) to (n, 2) on the picture plane, y down."""
    return points[:, :2] * [1, -1] / (1 - points[:, 2:] / CAMERA_DISTANCE)


def _normal(corners: np.ndarray) -> np.ndarray:
    normal = np.cross(corners[2] - corners[0], corners[1] - corners[3])
    return normal / np.linalg.norm(normal)


def _area(points: np.ndarray) -> float:
    """The area of a quadrilateral, positive if its corners run clockwise on a picture whose y goes down."""
    x, y = points.T
    return float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) / 2)
