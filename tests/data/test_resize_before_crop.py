"""Resizing before the crop, its interpolation, and how often colours are jittered."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from from_options import eval_transform, train_transform, view_transform
from torch import Tensor
from torch.nn import functional

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def picture(height: int, width: int) -> np.ndarray:
    """Smooth, so that rounding is all that two ways of resizing differ in."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 11)]
    return np.stack([127 + 100 * wave for wave in waves], axis=-1).astype(np.uint8)


def resized(rgb: np.ndarray, height: int, width: int, mode: str) -> Tensor:
    """In floating point: (3, height, width), 0..1."""
    pixels = torch.from_numpy(rgb).permute(2, 0, 1)[None].double()
    return functional.interpolate(pixels, (height, width), mode=mode, antialias=True)[0].clamp(0, 255) / 255


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_evaluation_squashes_keeps_the_shape_or_does_not_resize(mode: str) -> None:
    rgb = picture(96, 64)
    options = {**PLAIN, "interpolation": mode}
    squashed = eval_transform(32, eval_resize_px=[48, 48], **options)(rgb, 0)
    np.testing.assert_allclose(squashed, resized(rgb, 48, 48, mode)[:, 8:40, 8:40], atol=1.5 / 255)
    shaped = eval_transform(32, eval_resize_px=[48], **options)(rgb, 0)
    np.testing.assert_allclose(shaped, resized(rgb, 72, 48, mode)[:, 20:52, 8:40], atol=1.5 / 255)
    untouched = eval_transform(32, eval_resize_px=[], **options)(rgb, 0)
    np.testing.assert_allclose(untouched * 255, rgb[32:64, 16:48].transpose(2, 0, 1), atol=1e-3)
    by_share = eval_transform(32, 0.5, **options)(rgb, 0)
    np.testing.assert_allclose(by_share, eval_transform(32, eval_resize_px=[64], **options)(rgb, 0))


def test_the_interpolations_differ() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    images = [eval_transform(32, 1.0, interpolation=mode, **PLAIN)(rgb, 0) for mode in ("bilinear", "bicubic")]
    assert float((images[0] - images[1]).abs().mean()) > 0.01


def test_training_resizes_before_it_crops() -> None:
    rgb = picture(96, 64)
    whole = {**PLAIN, "crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "flip": 0.0, "interpolation": "bicubic"}
    squashed = train_transform(48, resize_px=[48, 48], **whole)(rgb, 0)
    np.testing.assert_allclose(squashed, resized(rgb, 48, 48, "bicubic"), atol=1.5 / 255)
    # Without the resize, the whole of a 96 x 64 picture in a square is its middle 64 x 64.
    cut = train_transform(64, **whole)(rgb, 0)
    np.testing.assert_allclose(cut * 255, rgb[16:80].transpose(2, 0, 1), atol=1.01)


def test_views_are_cut_from_the_same_resize_and_from_small_pictures_too() -> None:
    rgb = picture(96, 64)
    centre = eval_transform(32, eval_resize_px=[48, 48], **PLAIN)(rgb, 0)
    five = view_transform(32, "five_crop", eval_resize_px=[48, 48], **PLAIN)(rgb, 0)
    assert torch.equal(five[4], centre)
    small = view_transform(32, "five_crop", eval_resize_px=[], **PLAIN)(picture(20, 64), 0)
    assert small.shape == (5, 3, 32, 32)
    assert bool((small[:, :, :6] == 0).all())
    assert bool((small[:, :, 8:24] > 0).all())


def test_colours_are_jittered_as_often_as_said() -> None:
    rgb = picture(32, 32)
    options = {**PLAIN, "crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "flip": 0.0}
    plain = train_transform(32, **options)(rgb, 0)

    def share(probability: float) -> float:
        transform = train_transform(
            32, color_jitter=(0.5, 0.5, 0.5, 0.0), color_jitter_probability=probability, **options
        )
        return float(np.mean([not torch.equal(transform(rgb, seed), plain) for seed in range(200)]))

    assert share(1.0) > 0.98
    assert share(0.0) == 0.0
    # Four standard deviations of 200 tosses.
    assert share(0.5) == pytest.approx(0.5, abs=0.15)
