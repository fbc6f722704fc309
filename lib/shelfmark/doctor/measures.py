"""What is kept of each picture: sizes, brightness, sharpness, a hash of its pixels, and a thumbnail.

Everything else is found from these records, so each picture is decoded once. Legend: H, W pixels.
"""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import torch
from torch import Tensor

THUMB_PX = 32
RECORD = np.dtype(
    [
        ("pixels", "V16"),
        ("width", "<i4"),
        ("height", "<i4"),
        ("dark_end", "<f4"),
        ("bright_end", "<f4"),
        ("contrast", "<f4"),
        ("blur", "<f4"),
        ("thumb", "u1", (THUMB_PX, THUMB_PX, 3)),
    ]
)
"""One picture. pixels: equal for equal pixels, whatever the file's format. dark_end, bright_end: the brightness, of
0..255, that a twentieth of the picture is below, and above. contrast: the standard deviation of the brightness.
blur: as `blur` says. thumb: the whole picture, RGB, whatever its aspect."""

_LOOKED_AT_PX = 224
_END = 0.05
_BLUR_PX = 5


def measured(pixels: np.ndarray, seed: int = 0) -> Tensor:
    """(1, 1, bytes) uint8: the RECORD of a picture (H, W, 3) uint8. A transform of `data.dataset`; seed is unused."""
    record = np.zeros(1, RECORD)
    height, width = pixels.shape[:2]
    grey = cv2.cvtColor(_within(pixels, _LOOKED_AT_PX), cv2.COLOR_RGB2GRAY)
    share = np.cumsum(np.bincount(grey.ravel(), minlength=256)) / grey.size
    record["pixels"] = np.void(_pixels_hash(pixels))
    record["width"], record["height"] = width, height
    record["dark_end"], record["bright_end"] = np.searchsorted(share, (_END, 1 - _END))
    record["contrast"] = grey.std()
    record["blur"] = blur(grey)
    record["thumb"] = cv2.resize(pixels, (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(record.view(np.uint8).reshape(1, 1, -1))


def blur(grey: np.ndarray) -> float:
    """0..1: how little of the differences between neighbours a further blur takes away; (H, W) uint8.

    A sharp picture loses most of them, a blurred one has little left to lose. The greater of both directions, so that a
    shaken picture counts. Source: Crete et al., "The blur effect", SPIE 2007.
    """
    sharp = grey.astype(np.float32)
    found = []
    for axis, size in ((0, (1, _BLUR_PX)), (1, (_BLUR_PX, 1))):
        before = np.abs(np.diff(sharp, axis=axis))
        after = np.abs(np.diff(cv2.blur(sharp, size), axis=axis))
        total = float(before.sum())
        found.append(1 - float(np.maximum(before - after, 0).sum()) / total if total else 0.0)
    return max(found)


def _within(pixels: np.ndarray, side_px: int) -> np.ndarray:
    """The picture, made smaller until its longer side has side_px; never larger."""
    scale = side_px / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    size = tuple(max(1, round(side * scale)) for side in (pixels.shape[1], pixels.shape[0]))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _pixels_hash(pixels: np.ndarray) -> bytes:
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()
