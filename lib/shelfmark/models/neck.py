"""The batch norm between an embedding layer and the classifier. Legend: N batch, D embedding."""

from __future__ import annotations

from torch import Tensor, nn

from shelfmark.models.full_precision import full_precision
from shelfmark.models.heads.unit_rows import at_least_float32


class BatchNormNeck(nn.BatchNorm1d):
    """Embeddings (N, D) normalised by the batch and scaled; the scale learns, the shift stays 0. In float32 at least.

    Without a shift the classes of a linear classifier without bias lie around the origin, so cosines tell them apart.
    Each process of several normalises by its own part of the batch; see `SyncBatchNormNeck`.
    Source: Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person Re-Identification", CVPRW 2019.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.bias.requires_grad_(False)

    def forward(self, embedding: Tensor) -> Tensor:
        with full_precision(embedding.device):
            return super().forward(at_least_float32(embedding))


class SyncBatchNormNeck(nn.SyncBatchNorm, BatchNormNeck):
    """A `BatchNormNeck` which normalises by the batch of all processes."""

    @classmethod
    def of(cls, neck: BatchNormNeck) -> SyncBatchNormNeck:
        """A new neck that shares the parameters and statistics of the given one."""
        made = cls.__new__(cls)
        made.__dict__.update(neck.__dict__, process_group=None)
        return made

    def forward(self, embedding: Tensor) -> Tensor:
        with full_precision(embedding.device):
            return nn.SyncBatchNorm.forward(self, at_least_float32(embedding))
