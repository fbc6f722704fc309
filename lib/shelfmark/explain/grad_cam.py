"""Grad-CAM: the last map, its channels weighted by how they move the score.

Legend: N batch, C channels, H x W pixels of the map.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def grad_cam(parts: Sequence[Tensor], scores: Tensor) -> Tensor:
    """(N, H, W), of maps (N, C, H, W) of one size that scores (N,) were computed from, row by row.

    Without the ReLU at the end: what is below 0 speaks against the score. The values have no unit; they do not sum to
    the score. Source: Selvaraju et al., "Grad-CAM", ICCV 2017, eq. 1 and 2.
    """
    gradients = torch.autograd.grad(scores.sum(), list(parts))
    weighted = [
        torch.einsum("nchw,nc->nhw", maps.detach(), gradient.mean(dim=(2, 3)))
        for maps, gradient in zip(parts, gradients)
    ]
    return torch.stack(weighted).sum(dim=0)
