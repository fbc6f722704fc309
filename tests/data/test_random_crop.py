"""The crop, the resize and the normalisation of a training picture, against torchvision's own: the same digits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from from_options import train_transform
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from shelfmark.core.seeding import drawing, seeded
from shelfmark.data.images import Picture
from shelfmark.data.options import AugmentOptions, DataOptions
from shelfmark.data.random_crop import RandomCrop, RandomWindow
from shelfmark.data.resizing import channels_first, planes, resized
from shelfmark.data.sources.files import path_text
from shelfmark.data.transforms import normalisation, normalised

# The last two have no window of these aspects, or hardly any, so that the middle is taken.
SIZES = ((224, 224), (37, 300), (301, 40), (1, 1), (2, 500), (600, 3))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("scale", "ratio"), [((0.08, 1.0), (3 / 4, 4 / 3)), ((0.3, 0.3), (1.0, 1.0))])
def test_windows_are_those_of_torchvision(
    size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    ours, theirs = RandomWindow(scale, ratio), v2.RandomResizedCrop(8, scale, ratio)
    for seed in (*range(30), 2**62 + 5):
        with seeded(seed):
            expected = theirs.make_params([torch.empty(3, *size)])
            follows = torch.rand(1)
        for seeds_torch in (False, True):
            with drawing(seed, seeds_torch) as generator:
                assert ours(*size, generator)._asdict() == expected
                # Nor is a number more or less drawn.
                assert torch.equal(torch.rand(1, generator=generator), follows)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("flip", "side"), [(0.5, 32), (0.0, 31), (1.0, 40)])
def test_a_training_input_is_that_of_torchvisions_transforms(interpolation: str, flip: float, side: int) -> None:
    data = DataOptions(interpolation=interpolation)
    settings = data.input_settings
    theirs = v2.Compose(
        [
            v2.RandomResizedCrop(side, (0.2, 1.0), interpolation=v2.InterpolationMode(interpolation), antialias=True),
            v2.RandomHorizontalFlip(flip),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(settings.mean, settings.std),
        ]
    )
    augment: dict[str, Any] = {"crop_scale": (0.2, 1.0), "flip": flip}
    crop = RandomCrop(side, AugmentOptions(**augment), data)
    assert not crop.seeds_torch
    before = torch.get_rng_state()
    for seed in range(20):
        rgb = noise(40 + seed, 40 + 7 * seed % 50)
        with seeded(seed):
            expected = theirs(torch.from_numpy(rgb).permute(2, 0, 1).contiguous())
        with drawing(seed, False) as generator:
            pixels = crop(Picture(rgb), generator)
        assert pixels.is_contiguous()
        assert torch.equal(normalised(pixels, data), expected)
        assert torch.equal(train_transform(side, interpolation=interpolation, **augment)(rgb, seed), expected)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_part_of_a_picture_is_resized_as_its_copy_in_the_other_order() -> None:
    whole = noise(130, 151)
    for mode in (v2.InterpolationMode.BILINEAR, v2.InterpolationMode.BICUBIC):
        for top, left, height, width in ((0, 0, 130, 151), (3, 5, 100, 7), (20, 1, 1, 150), (64, 64, 64, 64)):
            part = whole[top : top + height, left : left + width]
            by_colour = torch.from_numpy(part.transpose(2, 0, 1).copy())
            expected = functional.resize_image(by_colour, [64, 64], mode, antialias=True)
            assert torch.equal(resized(part, [64, 64], mode), expected)


def test_colours_are_taken_apart_whatever_the_order_in_memory() -> None:
    rgb = noise(9, 14)
    whole = channels_first(rgb)
    for pixels in (whole, whole.contiguous(), whole[:, 2:7, 3:11], whole[:, ::2, ::3], whole.flip(-1), whole[:, :0]):
        expected = pixels.tolist()
        assert planes(pixels).is_contiguous()
        assert planes(pixels).tolist() == expected
        assert planes(pixels, mirrored=True).tolist() == [[row[::-1] for row in colour] for colour in expected]
    assert np.array_equal(rgb, noise(9, 14))


def test_every_value_of_every_colour_is_normalised_as_by_torchvision() -> None:
    data = DataOptions()
    settings, normalize = data.input_settings, normalisation(data)
    values = torch.arange(256, dtype=torch.uint8).view(1, 16, 16).expand(3, 16, 16)
    by_pixel = values.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    batch = torch.stack([values, values.flip(1)])
    for pixels in (values, by_pixel, batch, batch[None], batch.to(memory_format=torch.channels_last), batch[:0]):
        scaled = functional.to_dtype(pixels, torch.float32, scale=True)
        expected = functional.normalize(scaled, list(settings.mean), list(settings.std))
        assert torch.equal(normalize(pixels), expected)
        assert normalize(pixels).is_contiguous()
        # Of colours that an augmentation has made float already.
        assert torch.equal(normalize(scaled), expected)


@pytest.mark.parametrize("root", [".", "", "/", "/a/b", "a", "../a", "//a"])
def test_paths_are_put_together_as_pathlib_does_it(root: str) -> None:
    parts = ("b.jpg", "c/b.jpg", "/c/b.jpg", "//c/b", "///c", "./b", "b/.", "b/./c", "b//c", "b/", "..", "../b", "a./b")
    for path in (*parts, "", ".", "b..jpg", ".b", "c/.b", "b.", "/", "/./b", "é b.jpg", "b\\c", "b\0c"):
        assert path_text(Path(root), path) == str(Path(root) / path), (root, path)
        assert path_text(Path(root), path) == os.fspath(Path(root, path))
