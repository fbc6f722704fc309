"""The training augmentation of `data.pipeline: 2`: the crop is drawn first, and only then is the picture decoded.

What is drawn is what `data.transforms.train_transform` draws by the same seed, and of a picture that is decoded at its
full size the result is the same, bit for bit.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from shelfmark.core.seeding import drawing
from shelfmark.data.finish import Draws, Finish
from shelfmark.data.images import Picture
from shelfmark.data.options import AugmentOptions, DataOptions
from shelfmark.data.random_crop import RandomCrop
from shelfmark.data.transforms import color_jitter, later_changes


class CropFirst:
    """`begun` is the part of the augmentation that a worker does, `finish` the rest, for a whole batch; a call does
    both. The same picture and seed give the same result, wherever and whenever.

    size: height and width of the result.
    """

    def __init__(self, size: int, augment: AugmentOptions, data: DataOptions) -> None:
        self.finish = Finish(data)
        self._crop = RandomCrop(size, augment, data)
        self._jitters_later = data.color_jitter_on == "device"
        self._jitter = color_jitter(augment)
        self._jitter_probability = augment.color_jitter_probability
        self._changes = later_changes(augment, data, with_jitter=not self._jitters_later)
        self._erasing = v2.RandomErasing(p=1.0) if augment.erasing else None
        self._erasing_probability = augment.erasing
        self._has_draws = self._erasing is not None or (self._jitters_later and self._jitter is not None)
        self._draws_later = self._has_draws or not isinstance(self._changes, torch.nn.Identity)

    def __call__(self, picture: Picture | np.ndarray, seed: int) -> Tensor:
        """(3, size, size) float32, normalised. picture: or its pixels, (H, W, 3) uint8 RGB."""
        opened = Picture(picture) if isinstance(picture, np.ndarray) else picture
        pixels, draws = self.begun(opened, seed)
        return self.finish(pixels[None], None if draws is None else draws[None])[0]

    def begun(self, picture: Picture, seed: int) -> tuple[Tensor, Tensor | None]:
        """(3, size, size) uint8, and what was drawn for `finish`, as `Draws.row` has it; None where that is nothing."""
        with drawing(seed, self._crop.seeds_torch or self._draws_later) as generator:
            pixels = self._crop(picture, generator)
            return self._changed(pixels) if self._draws_later else (pixels, None)

    def _changed(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        draws = Draws()
        if self._jitters_later and self._jitter is not None:
            draws = draws.with_jitter(self._drawn_jitter(self._jitter, pixels))
        pixels = self._changes(pixels)
        if self._erasing is not None and torch.rand(1) < self._erasing_probability:
            draws = draws.with_erased(self._erasing.make_params([pixels]))
        return pixels, draws.row() if self._has_draws else None

    def _drawn_jitter(self, jitter: v2.ColorJitter, pixels: Tensor) -> dict[str, object] | None:
        if self._jitter_probability < 1 and torch.rand(1) >= self._jitter_probability:
            return None
        params: dict[str, object] = jitter.make_params([pixels])
        return params
