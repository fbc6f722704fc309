"""Similarities to learned points of each class. Legend: N batch, C classes, K proxies a class, D embedding."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_SMALLEST_NORM = 1e-6


def proxy_cosines(vectors: Tensor, weight: Tensor) -> Tensor:
    """The cosine of every vector with every proxy: (N, C) where a class has one proxy, else (N, C, K).

    vectors: (N, D), weight: (C, K, D), of any length. At least float32, whatever autocast says: a margin loss takes
    the angle, which near 0 is ten times less exact than the cosine.
    """
    num_classes, num_proxies, dim = weight.shape
    dtype = torch.promote_types(vectors.dtype, torch.float32)
    with torch.autocast(vectors.device.type, enabled=False):
        unit_vectors = F.normalize(vectors.to(dtype), dim=1, eps=_SMALLEST_NORM)
        unit_proxies = F.normalize(weight.to(dtype), dim=2, eps=_SMALLEST_NORM)
        cosines = unit_vectors @ unit_proxies.view(num_classes * num_proxies, dim).T
    return cosines if num_proxies == 1 else cosines.view(len(vectors), num_classes, num_proxies)
