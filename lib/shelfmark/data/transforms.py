"""From a picture, (H, W, 3) uint8 RGB, to the network's input, (3, size, size) float32.

Built on torchvision.transforms.v2, which draws from torch's global generator: that is seeded for the
one picture and put back as it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from shelfmark.core.errors import choose
from shelfmark.core.seeding import drawing, seeded
from shelfmark.data.images import Picture
from shelfmark.data.options import AugmentOptions, DataOptions
from shelfmark.data.random_crop import RandomCrop
from shelfmark.data.resizing import Resize, channels_first, planes
from shelfmark.data.saved_pipeline import SavedPipeline

# Above a quarter of a million values OpenCV starts threads, which a loader's worker must not inherit.
_AT_ONCE = 1 << 17

Transform = Callable[[np.ndarray, int], Tensor]
"""(picture, seed) -> input. The same picture and seed give the same input, wherever and whenever."""


def train_transform(size: int, augment: AugmentOptions, data: DataOptions) -> Transform:
    """Resize, random crop, flip, colour jitter, RandAugment, normalisation, random erasing, in this order.

    augment.crop_padding_px: above 0, the shorter side is resized to `size`, a black border of that many pixels is
    added, and a random window of `size` x `size` is cut out. augment.albumentations: the pipeline's uint8 result is
    normalised here; a float result counts as normalised. A result of another size is resized to `size` x `size`.
    UserError for a pipeline that cannot be read.
    """
    normalize = normalisation(data)
    after = _sequence([v2.RandomErasing(p=augment.erasing)] if augment.erasing else [])
    if augment.albumentations is not None:
        return _SavedAugmentation(SavedPipeline(augment.albumentations), size, normalize, after)
    return _Augmentation(RandomCrop(size, augment, data), later_changes(augment, data), normalize, after)


def later_changes(augment: AugmentOptions, data: DataOptions, with_jitter: bool = True) -> torch.nn.Module:
    """What comes between the flip and the normalisation: colour jitter, unless it is left out, and RandAugment."""
    steps: list[torch.nn.Module] = []
    jitter = color_jitter(augment)
    if with_jitter and jitter is not None:
        probability = augment.color_jitter_probability
        steps.append(jitter if probability == 1 else v2.RandomApply([jitter], probability))
    if augment.randaugment.num_ops:
        grey = [round(255 * value) for value in data.input_settings.mean]
        steps.append(v2.RandAugment(augment.randaugment.num_ops, augment.randaugment.magnitude, fill=grey))
    return _sequence(steps)


def color_jitter(augment: AugmentOptions) -> v2.ColorJitter | None:
    """The change of colours, by any strength above 0."""
    return v2.ColorJitter(*augment.color_jitter) if any(augment.color_jitter) else None


def eval_transform(size: int, data: DataOptions) -> Transform:
    """Resize with antialiasing, crop the centre of size x size, normalise. The seed is not used.

    The shorter side becomes int(size / data.eval_crop), or data.eval_resize_px, which holds for data.input_size_px and
    is scaled for another size. If the resized picture is smaller than the crop, black pixels fill the rest.
    """
    return _centre_crop(size, data)


def evaluation_resize_px(size: int, data: DataOptions) -> list[int]:
    """What `eval_transform` resizes to before its crop: [] for not at all, [shorter side] or [height, width]."""
    if data.eval_resize_px is None:
        return [int(size / data.input_settings.eval_crop)]
    return [round(side * size / data.input_size_px) for side in data.eval_resize_px]


def _centre_crop(size: int, data: DataOptions) -> _CentreCrop:
    mode = v2.InterpolationMode(data.input_settings.interpolation)
    return _CentreCrop(size, Resize(evaluation_resize_px(size, data), mode), normalisation(data))


def normalised(pixels: Tensor, data: DataOptions) -> Tensor:
    """What `eval_transform` makes of resized and cropped pixels (..., 3, size, size) uint8: float32."""
    return normalisation(data)(pixels)


def normalisation(data: DataOptions) -> Normalisation:
    settings = data.input_settings
    return Normalisation(settings.mean, settings.std)


class Normalisation:
    """From pixels (..., 3, H, W) uint8 to float32, by the mean and the standard deviation of each colour."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = list(mean), list(std)
        # (3, 256): what becomes of each value of each colour.
        values = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
        self.table = self._computed(values).reshape(3, 256).numpy()

    def __call__(self, pixels: Tensor) -> Tensor:
        if pixels.dtype != torch.uint8 or pixels.device.type != "cpu":
            return self._computed(pixels)
        # On a CPU the arithmetic takes twice as long as looking its results up.
        colours = planes(pixels) if pixels.ndim == 3 else pixels.contiguous()
        made = torch.empty(pixels.shape, dtype=torch.float32)
        by_plane = (math.prod(pixels.shape[:-3]), 3, *pixels.shape[-2:])
        num_rows = max(1, _AT_ONCE // max(1, pixels.shape[-1]))
        for values, results in zip(colours.view(by_plane).numpy(), made.view(by_plane).numpy()):
            for colour, result, row in zip(values, results, self.table):
                for top in range(0, len(colour), num_rows):
                    cv2.LUT(colour[top : top + num_rows], row, result[top : top + num_rows])
        return made

    def _computed(self, pixels: Tensor) -> Tensor:
        scaled = functional.to_dtype(pixels.contiguous(), torch.float32, scale=True)
        return functional.normalize(scaled, self.mean, self.std, inplace=True)


class SizedTransforms:
    """A transform whose size changes with the epoch: `at(epoch)`.

    size: until the first epoch of `sizes`. sizes: first epoch -> size. make: size -> transform.
    """

    def __init__(self, size: int, sizes: Mapping[int, int], make: Callable[[int], Transform]) -> None:
        by_size = {one: make(one) for one in {size, *sizes.values()}}
        self._stages = [(epoch, by_size[one]) for epoch, one in sorted({0: size, **sizes}.items())]

    def at(self, epoch: int) -> Transform:
        return [transform for first_epoch, transform in self._stages if first_epoch <= epoch][-1]


NUM_VIEWS = {"centre": 1, "flip": 2, "five_crop": 5, "ten_crop": 10}


def view_transform(size: int, views: str, data: DataOptions) -> Transform:
    """As `eval_transform`, but several views of each picture: (V, 3, size, size).

    views: `centre` (V = 1); `flip`, the centre and its mirror image (2); `five_crop`, the four corners and the centre
    of the resized picture (5); `ten_crop`, these and their mirror images (10).
    """
    return _Views(_centre_crop(size, data), choose("predict.views", views, NUM_VIEWS))


class _Augmentation:
    def __init__(
        self, crop: RandomCrop, steps: torch.nn.Module, normalize: Normalisation, after: torch.nn.Module
    ) -> None:
        self.crop, self.steps, self.normalize, self.after = crop, steps, normalize, after
        self.draws_later = not all(isinstance(one, torch.nn.Identity) for one in (steps, after))

    def __call__(self, rgb: np.ndarray, seed: int) -> Tensor:
        with drawing(seed, self.crop.seeds_torch or self.draws_later) as generator:
            return self.after(self.normalize(self.steps(self.crop(Picture(rgb), generator))))


class _SavedAugmentation:
    def __init__(self, pipeline: SavedPipeline, size: int, normalize: Normalisation, after: torch.nn.Module) -> None:
        self.pipeline, self.size, self.normalize, self.after = pipeline, size, normalize, after

    def __call__(self, rgb: np.ndarray, seed: int) -> Tensor:
        pixels = channels_first(self.pipeline(rgb, seed))
        if pixels.shape[1:] != (self.size, self.size):
            pixels = functional.resize(pixels, [self.size, self.size], antialias=True)
        ready = pixels.float().contiguous() if pixels.is_floating_point() else self.normalize(pixels)
        with seeded(seed):
            return self.after(ready)


class _CentreCrop:
    def __init__(self, size: int, resize: Resize, normalize: Normalisation) -> None:
        self.size, self.resize, self.normalize = size, resize, normalize

    def __call__(self, rgb: np.ndarray, seed: int) -> Tensor:
        return self.normalize(functional.center_crop(self.resized(rgb), [self.size, self.size]))

    def resized(self, rgb: np.ndarray) -> Tensor:
        return self.resize(channels_first(rgb))


class _Views:
    def __init__(self, centre: _CentreCrop, views: str) -> None:
        self.centre, self.views = centre, views

    def __call__(self, rgb: np.ndarray, seed: int) -> Tensor:
        pixels, size = self.centre.resized(rgb), [self.centre.size, self.centre.size]
        if "crop" in self.views:
            # Only a picture at least as large as the crop has corners to cut out.
            whole = [max(side, length) for side, length in zip(size, pixels.shape[1:])]
            crops = functional.five_crop(functional.center_crop(pixels, whole), size)
        else:
            crops = [functional.center_crop(pixels, size)]
        images = [self.centre.normalize(crop) for crop in crops]
        if self.views in ("flip", "ten_crop"):
            images += [image.flip(-1) for image in images]
        return torch.stack(images)


def _sequence(steps: Sequence[torch.nn.Module]) -> torch.nn.Module:
    return v2.Compose(steps) if steps else torch.nn.Identity()
