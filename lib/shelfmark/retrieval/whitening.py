"""PCA-whitening: the directions of greatest variance, each scaled to the same. Legend: N vectors, D embedding.

Source: Jegou, Chum, "Negative evidences and co-occurences in image retrieval: the benefit of PCA and whitening",
ECCV 2012.
"""

from __future__ import annotations

from typing import Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.core.types import Array
from shelfmark.retrieval.vectors import comparable

A = TypeVar("A", np.ndarray, Tensor)
_BLOCK_ROWS = 8192


class PCAWhitening:
    """Vectors less their mean, along the `dim` directions of greatest variance, divided by its square root.

    dim: 0 takes every direction that has variance. shrinkage: s in 0..1 replaces a direction's variance v by
    (1 - s) v + s * (the mean variance over all D), which keeps directions of little variance, and most noise, small.

    Learned: mean_ (D,); components_ (dim, D) of length 1, the greatest part of each positive; variances_ (dim,),
    falling, before the shrinkage, with N - 1 as denominator; scales_ (dim,), what each direction is divided by.
    """

    mean_: Tensor
    components_: Tensor
    variances_: Tensor
    scales_: Tensor

    def __init__(self, dim: int = 0, shrinkage: float = 0.0) -> None:
        if dim < 0:
            raise UserError(f"dim={dim}: give how many directions to keep, or 0 for all that have variance.")
        if not 0 <= shrinkage <= 1:
            raise UserError(f"shrinkage={shrinkage}: it lies between 0 (none) and 1 (all directions scaled alike).")
        self.dim, self.shrinkage = dim, shrinkage

    def fit(self, features: Array) -> Self:
        """features: (N, D), N >= 2; of training images or of the gallery. Summed in float64, in blocks."""
        vectors, _ = comparable(features, features, "dot")
        if len(vectors) < 2:
            raise UserError(f"whitening: {len(vectors)} vectors have no variance; give at least 2.")
        mean = torch.stack([block.double().sum(dim=0) for block in vectors.split(_BLOCK_ROWS)]).sum(dim=0)
        mean /= len(vectors)
        covariance = mean.new_zeros(len(mean), len(mean))
        for block in vectors.split(_BLOCK_ROWS):
            centred = block.double() - mean
            covariance.addmm_(centred.T, centred)
        variances, columns = torch.linalg.eigh(covariance / (len(vectors) - 1))
        variances, rows = variances.flip(0).clamp_min(0), columns.T.flip(0)
        dim = self._kept(variances, len(vectors))
        rows, kept = rows[:dim], variances[:dim]
        largest = rows.gather(1, rows.abs().argmax(dim=1, keepdim=True))
        scales = ((1 - self.shrinkage) * kept + self.shrinkage * variances.mean()).sqrt()
        self.mean_, self.variances_, self.scales_ = (part.to(vectors.dtype) for part in (mean, kept, scales))
        self.components_ = (rows * largest.sign()).to(vectors.dtype)
        return self

    def transform(self, features: A) -> A:
        """(n, dim) whitened vectors, not normalised. features: (n, D)."""
        vectors, _ = comparable(features, features[:0], "dot")
        if vectors.shape[1] != len(self.mean_):
            raise UserError(
                f"whitening was fitted on vectors of {len(self.mean_)} dimensions, not {vectors.shape[1]}; "
                "both must come from the same checkpoint."
            )
        mean, components, scales = (part.to(vectors) for part in (self.mean_, self.components_, self.scales_))
        whitened = torch.cat([(block - mean) @ components.T / scales for block in vectors.split(_BLOCK_ROWS)])
        return whitened.numpy() if isinstance(features, np.ndarray) else whitened

    def _kept(self, variances: Tensor, num_vectors: int) -> int:
        # A variance that float64 sums cannot tell from 0 counts as 0. At most N - 1 directions have variance.
        floor = float(variances[0]) * max(num_vectors, len(variances)) * torch.finfo(torch.float64).eps
        rank = min(int((variances > floor).sum()), num_vectors - 1)
        if not rank:
            raise UserError("whitening: all vectors are the same, which has no direction. Check how they were made.")
        if self.dim > len(variances) or (self.dim > rank and not self.shrinkage):
            raise UserError(
                f"dim={self.dim}: the {num_vectors} vectors of {len(variances)} dimensions vary in {rank} directions; "
                f"set dim to {rank} or less, or 0 for all of them."
            )
        return self.dim or rank
