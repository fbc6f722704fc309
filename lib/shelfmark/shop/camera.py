"""What light, lens, sensor and file do to a picture."""

from __future__ import annotations

import cv2
import numpy as np


def photographed(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """(side, side, 3) uint8: the picture unevenly lit, tinted, blurred and noisy."""
    lit = picture.astype(np.float32) * _illumination(rng, picture.shape[0])
    lit *= np.clip(rng.normal(1.0, (0.09, 0.04, 0.12)), 0.7, 1.35).astype(np.float32)
    lit = _blurred(rng, lit)
    # Contrast about a middle grey, then the sensor's noise, stronger where light was short.
    lit = (lit - 118) * np.float32(rng.uniform(0.82, 1.15)) + 118
    lit += rng.standard_normal(lit.shape, dtype=np.float32) * np.float32(rng.uniform(0.5, 6.0))
    return np.clip(lit, 0, 255).astype(np.uint8)


def jpeg(rng: np.random.Generator, picture: np.ndarray) -> bytes:
    """The picture as a JPEG file, of middling to good quality."""
    quality = int(rng.integers(62, 95))
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()


def _illumination(rng: np.random.Generator, side: int) -> np.ndarray:
    """(side, side, 1) float32 factor: exposure, a slope of light in some direction, darker corners."""
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    gain = np.exp(np.clip(rng.normal(-0.05, 0.25), -0.6, 0.25))
    across, down = rng.normal(0, 0.16, 2)
    corners = rng.uniform(0, 0.22) * (axis[:, None] ** 2 + axis[None, :] ** 2) / 2
    slope = 1 + across * axis[None, :] + down * axis[:, None] - corners
    return (gain * np.clip(slope, 0.3, 1.7)).astype(np.float32)[..., None]


def _blurred(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Out of focus or shaken, more or less; sharp in half of the cases."""
    kind = rng.random()
    if kind < 0.36:
        return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.1))
    if kind < 0.46:
        length = int(rng.integers(3, 6))
        kernel = np.zeros((length, length), np.float32)
        end = (length - 1, int(rng.integers(length)))
        cv2.line(kernel, (0, length - 1 - end[1]), end, 1.0, 1)
        return cv2.filter2D(picture, -1, kernel / kernel.sum())
    return picture
