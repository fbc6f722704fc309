"""The end of the training augmentation, on the device: colour, normalisation, erased rectangles.

Legend: N pictures, H x W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from shelfmark.data.colour import jittered
from shelfmark.data.options import DataOptions
from shelfmark.data.transforms import normalisation

_NO_ORDER = (0.0, 1.0, 2.0, 3.0)
_NO_FACTORS = (math.nan,) * 4
_NO_RECTANGLE = (0.0,) * 4
_FACTORS = ("brightness_factor", "contrast_factor", "saturation_factor", "hue_factor")


@dataclass(frozen=True)
class Draws:
    """What was drawn for one picture, as torchvision's transforms draw it.

    order: in which the colours are changed: 0 is brightness, 1 contrast, 2 saturation, 3 hue. factors: those of
    brightness, contrast, saturation and hue; NaN for a change that is left out. rectangle: top, left, height and width
    of the erased part; height 0 where nothing is erased.
    """

    order: tuple[float, ...] = _NO_ORDER
    factors: tuple[float, ...] = _NO_FACTORS
    rectangle: tuple[float, ...] = _NO_RECTANGLE

    def with_jitter(self, params: Mapping[str, Any] | None) -> Draws:
        """params: of `v2.ColorJitter`; None leaves the colours as they are."""
        if params is None:
            return self
        factors = tuple(math.nan if params[name] is None else params[name] for name in _FACTORS)
        return replace(self, order=tuple(map(float, params["fn_idx"].tolist())), factors=factors)

    def with_erased(self, params: Mapping[str, Any]) -> Draws:
        """params: of `v2.RandomErasing`, which has no values where no rectangle fitted."""
        if params["v"] is None:
            return self
        return replace(self, rectangle=tuple(float(params[name]) for name in "ijhw"))

    def row(self) -> Tensor:
        """(12,) float32."""
        return torch.tensor([*self.order, *self.factors, *self.rectangle])


class Finish:
    """Makes a network's input of pictures that `CropFirst.begun` made."""

    def __init__(self, data: DataOptions) -> None:
        self._normalize = normalisation(data)

    def __call__(self, pixels: Tensor, draws: Tensor | None) -> Tensor:
        """(N, 3, H, W) float32 of (N, 3, H, W) uint8, on their device. draws: (N, 12), rows of `Draws`, on the CPU.

        The arithmetic is that of `data.transforms.train_transform`, to the last bit; of jittered colours, a pixel may
        differ by 1 of 255.
        """
        if draws is None:
            return self._normalize(pixels)
        images = self._normalize(jittered(pixels, draws[:, :4].long(), draws[:, 4:8]))
        return _erased(images, draws[:, 8:].to(images.device))


def _erased(images: Tensor, rectangles: Tensor) -> Tensor:
    """The images with 0 in their rectangle, in place. rectangles: (N, 4)."""
    top, left, height, width = rectangles[:, :, None].unbind(1)
    rows, columns = (torch.arange(side, device=images.device) for side in images.shape[-2:])
    in_rows = (rows >= top) & (rows < top + height)
    in_columns = (columns >= left) & (columns < left + width)
    return images.masked_fill_((in_rows[:, :, None] & in_columns[:, None])[:, None], 0)
