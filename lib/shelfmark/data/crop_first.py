"""The training augmentation of `data.pipeline: 2`: the crop is drawn first, and only then is the picture decoded.

What is drawn is what `data.transforms.train_transform` draws by the same seed, and of a picture that is decoded at its
full size the result is the same, bit for bit.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from shelfmark.core.seeding import seeded
from shelfmark.data.finish import Draws, Finish
from shelfmark.data.images import Picture, Window
from shelfmark.data.options import AugmentOptions, DataOptions
from shelfmark.data.transforms import channels_first, color_jitter, later_changes, random_crop


class CropFirst:
    """`begun` is the part of the augmentation that a worker does, `finish` the rest, for a whole batch; a call does
    both. The same picture and seed give the same result, wherever and whenever.

    size: height and width of the result.
    """

    def __init__(self, size: int, augment: AugmentOptions, data: DataOptions) -> None:
        self.finish = Finish(data)
        self._size = [size, size]
        self._mode = v2.InterpolationMode(data.input_settings.interpolation)
        self._crop = random_crop(size, augment, data)
        # A picture that is resized as a whole, before the crop, may be decoded as small as that.
        self._whole_least = _least_of_whole(size, augment)
        self._flip = augment.flip
        self._jitters_later = data.color_jitter_on == "device"
        self._jitter = color_jitter(augment)
        self._jitter_probability = augment.color_jitter_probability
        self._changes = later_changes(augment, data, with_jitter=not self._jitters_later)
        self._erasing = v2.RandomErasing(p=1.0) if augment.erasing else None
        self._erasing_probability = augment.erasing

    def __call__(self, picture: Picture | np.ndarray, seed: int) -> Tensor:
        """(3, size, size) float32, normalised. picture: or its pixels, (H, W, 3) uint8 RGB."""
        opened = Picture(picture) if isinstance(picture, np.ndarray) else picture
        pixels, draws = self.begun(opened, seed)
        return self.finish(pixels[None], None if draws is None else draws[None])[0]

    def begun(self, picture: Picture, seed: int) -> tuple[Tensor, Tensor | None]:
        """(3, size, size) uint8, and what was drawn for `finish`, as `Draws.row` has it; None where that is nothing."""
        with seeded(seed):
            pixels = self._cropped(picture)
            if self._flip and torch.rand(1) < self._flip:
                pixels = pixels.flip(-1)
            draws = Draws()
            if self._jitters_later and self._jitter is not None:
                draws = draws.with_jitter(self._drawn_jitter(self._jitter, pixels))
            pixels = self._changes(pixels)
            if self._erasing is not None and torch.rand(1) < self._erasing_probability:
                draws = draws.with_erased(self._erasing.make_params([pixels]))
        draws_anything = self._erasing is not None or (self._jitters_later and self._jitter is not None)
        return pixels, draws.row() if draws_anything else None

    def _cropped(self, picture: Picture) -> Tensor:
        height, width = picture.height, picture.width
        if self._whole_least is not None:
            whole = picture.window(Window(0, 0, height, width), self._whole_least)
            return self._crop(channels_first(whole)).contiguous()
        assert isinstance(self._crop, v2.RandomResizedCrop)
        window = Window(**self._crop.make_params([torch.empty(1).expand(3, height, width)]))
        pixels = channels_first(picture.window(window, (self._size[0], self._size[1])))
        return functional.resize_image(pixels, self._size, self._mode, antialias=True).contiguous()

    def _drawn_jitter(self, jitter: v2.ColorJitter, pixels: Tensor) -> dict[str, object] | None:
        if self._jitter_probability < 1 and torch.rand(1) >= self._jitter_probability:
            return None
        params: dict[str, object] = jitter.make_params([pixels])
        return params


def _least_of_whole(size: int, augment: AugmentOptions) -> tuple[int, int] | None:
    if augment.resize_px:
        return augment.resize_px[0], augment.resize_px[-1]
    return (size, size) if augment.crop_padding_px else None
