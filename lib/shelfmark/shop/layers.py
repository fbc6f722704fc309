"""Pictures with transparency: (height, width, 4) uint8 RGBA, premultiplied.

Premultiplied, because such pictures may be scaled, turned and laid over each other without dark seams.
"""

from __future__ import annotations

import math

import cv2
import numpy as np


def over(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """`above` laid over `below`: uint8 of the same height and width; `below` may lack the alpha channel."""
    hidden = cv2.merge([255 - above[..., 3]] * below.shape[2])
    return cv2.add(above[..., : below.shape[2]], cv2.multiply(below, hidden, scale=1 / 255))


def trimmed(picture: np.ndarray) -> np.ndarray:
    """The picture without the empty rows and columns around it."""
    left, top, width, height = cv2.boundingRect(picture[..., 3])
    return picture[top : top + height, left : left + width]


def placed(
    picture: np.ndarray, scale: float, anchor: tuple[float, float], at: tuple[float, float], turn_deg: float, side: int
) -> np.ndarray:
    """(side, side, 4): the picture scaled and turned, so that its point `anchor` (parts of its width and
    height) comes to `at` (parts of the side). Drawn twice as large first, so that no lettering breaks up."""
    height, width = picture.shape[:2]
    factor = 2 * scale
    cosine, sine = factor * math.cos(math.radians(turn_deg)), factor * math.sin(math.radians(turn_deg))
    x, y = anchor[0] * width, anchor[1] * height
    matrix = np.array(
        [
            [cosine, -sine, at[0] * side * 2 - cosine * x + sine * y],
            [sine, cosine, at[1] * side * 2 - sine * x - cosine * y],
        ]
    )
    large = cv2.warpAffine(picture, matrix, (side * 2, side * 2), flags=cv2.INTER_LINEAR)
    return cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA)


def softened(picture: np.ndarray, sigma_px: float) -> np.ndarray:
    """The picture out of focus."""
    return cv2.GaussianBlur(picture, (0, 0), sigma_px) if sigma_px > 0.2 else picture


def shadowed(
    picture: np.ndarray, layer: np.ndarray, shift_px: tuple[float, float], sigma_px: float, strength: float
) -> np.ndarray:
    """`picture` under the soft shadow that `layer` throws on it; strength 0 to 1."""
    # Soft things need few pixels: half the size, a quarter of the work.
    small = cv2.resize(layer[..., 3], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    matrix = np.array([[1, 0, shift_px[0] / 2], [0, 1, shift_px[1] / 2]], np.float32)
    moved = cv2.GaussianBlur(cv2.warpAffine(small, matrix, small.shape[1::-1]), (0, 0), sigma_px / 2)
    light = cv2.convertScaleAbs(cv2.resize(moved, picture.shape[1::-1]), alpha=-strength, beta=255)
    return cv2.multiply(picture, cv2.merge([light] * 3), scale=1 / 255)
