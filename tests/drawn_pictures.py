"""Pictures of random shapes, no two alike, and the changes that make a copy of one."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

SIDE_PX = 96


def drawn(number: int, side: int = SIDE_PX) -> np.ndarray:
    """(side, side, 3) uint8: twenty shapes on a background, all random; equal for equal numbers."""
    generator = np.random.default_rng(number)
    picture = np.full((side, side, 3), generator.integers(60, 200, 3), np.uint8)
    for _ in range(20):
        colour = tuple(int(one) for one in generator.integers(0, 256, 3))
        centre = tuple(int(one) for one in generator.integers(0, side, 2))
        size = tuple(int(one) for one in generator.integers(side // 16, side // 4, 2))
        if generator.random() < 0.5:
            cv2.ellipse(picture, centre, size, float(generator.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
        else:
            cv2.rectangle(picture, centre, (centre[0] + size[0], centre[1] + size[1]), colour, -1)
    return picture


def saved_anew(picture: np.ndarray, quality: int = 40) -> np.ndarray:
    encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1])


def resized(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)


def cropped(picture: np.ndarray, keep: float = 0.9, top: float = 0.03, left: float = 0.06) -> np.ndarray:
    height, width = picture.shape[:2]
    first, second = round(top * height), round(left * width)
    return picture[first : first + round(keep * height), second : second + round(keep * width)]


def mirrored(picture: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(picture[:, ::-1])


def recoloured(picture: np.ndarray) -> np.ndarray:
    tinted = picture.astype(np.float32) * np.array([0.8, 1.0, 0.7]) + np.array([30, 0, 10])
    return tinted.clip(0, 255).astype(np.uint8)


def clipped(picture: np.ndarray) -> np.ndarray:
    """Brightened until the brightest parts are white."""
    return (picture.astype(np.float32) * 1.25).clip(0, 255).astype(np.uint8)


def covered(picture: np.ndarray) -> np.ndarray:
    """With a yellow label in a corner."""
    found = picture.copy()
    height, width = picture.shape[:2]
    found[round(0.83 * height) : round(0.95 * height), round(0.05 * width) : round(0.25 * width)] = (230, 200, 0)
    return found


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "saved anew": saved_anew,
    "resized": resized,
    "cropped": cropped,
    "mirrored": mirrored,
    "recoloured": recoloured,
}

MORE_CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "cropped all round": lambda picture: cropped(picture, 0.8, 0.1, 0.1),
    "upside down": lambda picture: np.ascontiguousarray(picture[::-1]),
    "turned": lambda picture: np.ascontiguousarray(np.rot90(picture)),
    "clipped": clipped,
    "covered": covered,
    "grey": lambda picture: cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB),
}
"""Changes that fewer people make."""
