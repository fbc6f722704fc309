"""One number a channel from a map. Legend: N batch, C channels, H x W pixels of the map.

The average is computed in float32 at least, as is the generalised mean; the result has that precision.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def avg(x: Tensor) -> Tensor:
    """The mean over the pixels: (N, C, H, W) to (N, C)."""
    return _pixels(x).mean(-1)


def max(x: Tensor) -> Tensor:
    """The largest pixel: (N, C, H, W) to (N, C)."""
    return _pixels(x).amax(-1)


def gem(x: Tensor, p: float | Tensor = 3.0, eps: float = 1e-6) -> Tensor:
    """The generalised mean (mean of max(x, eps)^p)^(1/p): (N, C, H, W) to (N, C).

    p: above 0; 1 is the average, and the larger it is, the nearer the largest pixel. A tensor of one number learns.
    eps: what smaller pixels, negative ones too, count as; they get no gradient.
    Source: Radenovic, Tolias, Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", PAMI 2019, eq. 3.
    """
    if not isinstance(p, Tensor) and not (math.isfinite(p) and p > 0):
        raise ValueError(f"p={p} must be a finite number above 0; usual is 3")
    if not eps > 0:
        raise ValueError(f"eps={eps} must be above 0; usual is 1e-6")
    pixels = _pixels(x).clamp(min=eps)
    # In logarithms: a dead channel's eps^p is below float32's smallest number from p = 7 on, and its root's slope is
    # infinite there.
    powers = pixels.log() * p
    return ((powers.logsumexp(-1) - math.log(pixels.shape[-1])) / p).exp()


def _pixels(x: Tensor) -> Tensor:
    """(N, C, H * W), in float32 at least."""
    if x.ndim != 4:
        raise ValueError(f"a map has the shape (N, C, H, W), not {tuple(x.shape)}")
    return x.flatten(2).to(torch.promote_types(x.dtype, torch.float32))
