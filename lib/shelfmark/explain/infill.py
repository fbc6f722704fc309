"""What stands in place of a region that is taken out of a picture. Legend: N batch, H x W pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

_SIGMA_OF_SIDE = 1 / 12


def blurred(images: Tensor) -> Tensor:
    """The network's inputs (N, 3, H, W) without detail: a Gaussian blur, whose sigma is a twelfth of the height."""
    sigma = images.shape[-2] * _SIGMA_OF_SIDE
    kernel = min(2 * int(2 * sigma) + 1, 2 * (min(images.shape[-2:]) // 2) - 1)
    return functional.gaussian_blur(images, [max(1, kernel)] * 2, [max(sigma, 1e-3)] * 2)


def mean_filled(images: Tensor) -> Tensor:
    """Inputs of one colour: the mean of the normalisation, which is 0 behind it."""
    return torch.zeros_like(images)


def infilled(images: Tensor, filling: Tensor, removed: Tensor) -> Tensor:
    """The images (N, 3, H, W) with `filling` where `removed`, (N, H, W) bool, says so."""
    return torch.where(removed[:, None], filling, images)
