"""L2 normalisation. Legend: N rows, D dimensions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_SMALLEST_NORM = 1e-6


def at_least_float32(x: Tensor) -> Tensor:
    """`x` as float32, or as it is where it is finer."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def unit_rows(x: Tensor) -> Tensor:
    """x / |x| row by row, at least in float32 whatever autocast says: (N, D) to (N, D).

    A row of zeros stays zeros and has a finite gradient.
    """
    return F.normalize(at_least_float32(x), dim=1, eps=_SMALLEST_NORM)
