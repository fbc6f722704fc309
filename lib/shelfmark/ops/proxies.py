"""Similarities to learned points of each class. Legend: N batch, C classes, J proxies a class, D embedding."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from shelfmark.ops.similarity import compute_dtype, dot_products

_SMALLEST_NORM = 1e-6


def proxy_cosines(vectors: Tensor, weight: Tensor) -> Tensor:
    """The cosine of every vector with every proxy: (N, C) where a class has one proxy, else (N, C, J).

    vectors: (N, D), weight: (C, J, D), of any length. True float32 products (float64 for float64), whatever autocast
    and TF32 say: a margin loss takes the angle, which near 0 is ten times less exact than the cosine.
    """
    require_proxies(vectors, weight)
    num_classes, num_proxies, _ = weight.shape
    unit_vectors = F.normalize(vectors.to(compute_dtype(vectors)), dim=1, eps=_SMALLEST_NORM)
    cosines = dot_products(unit_vectors, unit_proxies(weight).flatten(0, 1).to(unit_vectors.dtype))
    return cosines if num_proxies == 1 else cosines.view(len(vectors), num_classes, num_proxies)


def unit_proxies(weight: Tensor) -> Tensor:
    """The proxies at length 1, in float32 (float64 for float64): (C, J, D) to (C, J, D)."""
    return F.normalize(weight.to(compute_dtype(weight)), dim=2, eps=_SMALLEST_NORM)


def require_proxies(vectors: Tensor, weight: Tensor) -> None:
    """Raises a ValueError unless these are vectors (N, D) and proxies (C, J, D)."""
    if vectors.ndim != 2 or weight.ndim != 3 or vectors.shape[1] != weight.shape[2]:
        raise ValueError(
            "vectors must be (rows, dimensions) and proxies (classes, proxies a class, dimensions), not"
            f" {tuple(vectors.shape)} and {tuple(weight.shape)}"
        )
