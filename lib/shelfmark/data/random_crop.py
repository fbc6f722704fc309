"""The crop and the flip of the training augmentation: the draws and the pixels of torchvision's, in less time."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torchvision.transforms import v2

from shelfmark.data.images import Picture, Window
from shelfmark.data.options import AugmentOptions, DataOptions
from shelfmark.data.resizing import Resize, channels_first, planes, resized

_TRIES = 10


class RandomCrop:
    """Crops of size x size: windows of the picture, resized; or parts of the resized or padded picture. A share of
    `augment.flip` of them is mirrored.

    seeds_torch: whether torch's global generator is drawn from, besides the one that is given.
    """

    def __init__(self, size: int, augment: AugmentOptions, data: DataOptions) -> None:
        self._size = [size, size]
        self._mode = v2.InterpolationMode(data.input_settings.interpolation)
        self._window = RandomWindow(augment.crop_scale, augment.crop_ratio)
        self._of_whole = _crop_of_whole(size, augment, self._mode)
        # A picture that is resized as a whole, before the crop, may be decoded as small as that.
        self._whole_least = _least_of_whole(size, augment)
        self._flips = augment.flip > 0
        # It is compared with draws of float32.
        self._flip_share = float(torch.tensor(augment.flip, dtype=torch.float32))
        self.seeds_torch = self._of_whole is not None

    def __call__(self, picture: Picture, generator: Generator) -> Tensor:
        """(3, size, size) uint8, contiguous. generator: torch's own where `seeds_torch`."""
        pixels = self._cropped(picture, generator)
        return planes(pixels, self._flips and torch.rand(1, generator=generator).item() < self._flip_share)

    def _cropped(self, picture: Picture, generator: Generator) -> Tensor:
        height, width = picture.height, picture.width
        if self._of_whole is not None:
            whole = picture.window(Window(0, 0, height, width), self._whole_least)
            part: Tensor = self._of_whole(channels_first(whole))
            return part
        window = self._window(height, width, generator)
        return resized(picture.window(window, (self._size[0], self._size[1])), self._size, self._mode)


class RandomWindow:
    """Draws the windows of `v2.RandomResizedCrop`.

    scale: least and largest share of the picture's area. ratio: of a window's width to its height.
    """

    def __init__(self, scale: tuple[float, float], ratio: tuple[float, float]) -> None:
        self._scale, self._ratio = scale, ratio
        self._log_ratio = torch.log(torch.tensor(ratio)).tolist()

    def __call__(self, height: int, width: int, generator: Generator) -> Window:
        """Of a picture of that size. What is drawn follows from the generator's state alone."""
        drawn, place = torch.empty(1), torch.empty(1, dtype=torch.int64)
        for _ in range(_TRIES):
            area = height * width * drawn.uniform_(*self._scale, generator=generator).item()
            aspect = drawn.uniform_(*self._log_ratio, generator=generator).exp_().item()
            wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < wide <= width and 0 < tall <= height:
                top = place.random_(0, height - tall + 1, generator=generator).item()
                left = place.random_(0, width - wide + 1, generator=generator).item()
                return Window(int(top), int(left), tall, wide)
        return self._middle(height, width)

    def _middle(self, height: int, width: int) -> Window:
        narrowest, widest = min(self._ratio), max(self._ratio)
        tall, wide = height, width
        if width / height < narrowest:
            tall = round(width / narrowest)
        elif width / height > widest:
            wide = round(height * widest)
        return Window((height - tall) // 2, (width - wide) // 2, tall, wide)


class _PaddedCrop(torch.nn.Module):
    def __init__(self, size: int, padding_px: int, mode: v2.InterpolationMode) -> None:
        super().__init__()
        self.resize = Resize([size], mode)
        self.crop = v2.RandomCrop(size, padding=padding_px)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.crop(self.resize(pixels))


def _crop_of_whole(size: int, augment: AugmentOptions, mode: v2.InterpolationMode) -> torch.nn.Module | None:
    """The crop where the picture is resized or padded as a whole before it; None where it is not."""
    if not augment.resize_px and not augment.crop_padding_px:
        return None
    crop = (
        _PaddedCrop(size, augment.crop_padding_px, mode)
        if augment.crop_padding_px
        else v2.RandomResizedCrop(size, augment.crop_scale, augment.crop_ratio, mode, antialias=True)
    )
    return torch.nn.Sequential(Resize(augment.resize_px, mode), crop)


def _least_of_whole(size: int, augment: AugmentOptions) -> tuple[int, int]:
    return (augment.resize_px[0], augment.resize_px[-1]) if augment.resize_px else (size, size)
