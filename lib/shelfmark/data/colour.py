"""Colour jitter of a batch, each picture by its own factors. Legend: N pictures, n pictures of a block.

The formulas are those of torchvision's ColorJitter, on uint8.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LARGEST = 255
# Of the three channels to brightness.
_WEIGHTS = (0.2989, 0.587, 0.114)


def jittered(pixels: Tensor, order: Tensor, factors: Tensor) -> Tensor:
    """(N, 3, H, W) uint8, changed picture by picture. order, factors: (N, 4) on the CPU, as `finish.Draws` has them."""
    if bool(factors.isnan().all()):
        return pixels
    pixels = pixels.clone()
    for place in range(4):
        for number, change in enumerate((_brightness, _contrast, _saturation, _hue)):
            chosen = (order[:, place] == number) & ~factors[:, number].isnan()
            if bool(chosen.any()):
                rows = chosen.nonzero()[:, 0].to(pixels.device)
                by = factors[chosen, number].to(pixels.device)[:, None, None, None]
                pixels[rows] = change(pixels[rows], by)
    return pixels


def _brightness(pixels: Tensor, by: Tensor) -> Tensor:
    return _as_pixels(pixels * by)


def _contrast(pixels: Tensor, by: Tensor) -> Tensor:
    return _as_pixels(pixels * by + _grey(pixels).mean((1, 2, 3), keepdim=True) * (1 - by))


def _saturation(pixels: Tensor, by: Tensor) -> Tensor:
    return _as_pixels(pixels * by + _grey(pixels) * (1 - by))


def _hue(pixels: Tensor, by: Tensor) -> Tensor:
    """by: (n, 1, 1, 1), shares of the colour circle."""
    colours = pixels * (1 / _LARGEST)
    value, least = colours.amax(1, keepdim=True), colours.amin(1, keepdim=True)
    span = value - least
    red, green, blue = colours.unbind(1)
    top = value[:, 0]
    some = torch.where(span == 0, 1, span)[:, 0]
    # In sixths of the circle, from red.
    sixths = torch.where(
        top == red,
        (green - blue) / some,
        torch.where(top == green, 2 + (blue - red) / some, 4 + (red - green) / some),
    )
    turned = ((sixths / 6 + 1).fmod(1)[:, None] + by).remainder(1) * 6
    starts = torch.tensor([5.0, 3.0, 1.0], device=pixels.device)[:, None, None]
    places = (starts + turned) % 6
    shares = torch.minimum(places, 4 - places).clamp(0, 1)
    # A little more than 255, so that 1 and the numbers just below it are 255.
    return ((value - span * shares) * (_LARGEST + 1 - 1e-3)).to(torch.uint8)


def _grey(pixels: Tensor) -> Tensor:
    red, green, blue = pixels.unbind(1)
    return (red * _WEIGHTS[0] + green * _WEIGHTS[1] + blue * _WEIGHTS[2]).floor()[:, None]


def _as_pixels(values: Tensor) -> Tensor:
    return values.clamp(0, _LARGEST).to(torch.uint8)
