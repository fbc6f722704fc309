"""Resizes of pixels, and their two orders in memory: by pixel, (H, W, 3), and by colour, (3, H, W)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

LARGEST_ASPECT = 16
"""Of the longer side to the shorter: a strip of 1 x 10,000 pixels would be blown up to gigabytes before its middle is
cut out."""


def channels_first(rgb: np.ndarray) -> Tensor:
    """(3, H, W) of (H, W, 3), whose memory it shares."""
    return torch.from_numpy(rgb).permute(2, 0, 1)


def planes(pixels: Tensor, mirrored: bool = False) -> Tensor:
    """(3, H, W), contiguous, perhaps with left and right exchanged. pixels: the same, uint8, in any order in memory."""
    by_pixel = pixels.permute(1, 2, 0)
    if by_pixel.stride()[1:] != (3, 1) or not pixels.numel():
        return pixels.flip(-1) if mirrored else pixels.contiguous()
    # torch takes ten times as long for it.
    made = torch.empty(pixels.shape, dtype=torch.uint8)
    colours = list(made.numpy())
    cv2.split(by_pixel.numpy(), colours)
    if mirrored:
        for one in colours:
            cv2.flip(one, 1, one)
    return made


def resized(rgb: np.ndarray, size: list[int], mode: v2.InterpolationMode) -> Tensor:
    """(3, height, width), resized with antialiasing. rgb: (H, W, 3) uint8. size: height and width."""
    # Of a part of a larger picture torch would make two other copies, and takes longer for them.
    return functional.resize_image(channels_first(np.ascontiguousarray(rgb)), size, mode, antialias=True)


class Resize(torch.nn.Module):
    """To (), which is none, (shorter side,) or (height, width), antialiased."""

    def __init__(self, resize_px: Sequence[int], mode: v2.InterpolationMode) -> None:
        super().__init__()
        self.resize_px, self.mode = list(resize_px), mode

    def forward(self, pixels: Tensor) -> Tensor:
        if not self.resize_px:
            return pixels
        if len(self.resize_px) == 1:
            pixels = _without_long_ends(pixels)
        return functional.resize(pixels, self.resize_px, self.mode, antialias=True)


def _without_long_ends(pixels: Tensor) -> Tensor:
    height, width = pixels.shape[1:]
    longest = LARGEST_ASPECT * min(height, width)
    if max(height, width) <= longest:
        return pixels
    return functional.center_crop(pixels, [min(height, longest), min(width, longest)])
