"""A cross-batch memory: rows of earlier batches. Legend: n rows of this process's batch, N rows held, d dimensions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from shelfmark.core import dist


class CrossBatchMemory:
    """The newest `num_rows` vectors of a head with their labels, oldest first; every process holds the same.

    from_step: first optimizer step at which a loss may look into it; it is filled from the start.
    Source: Wang, Zhang, Huang, Scott, "Cross-Batch Memory for Embedding Learning", CVPR 2020.
    """

    def __init__(self, num_rows: int, from_step: int = 0, device: torch.device | None = None) -> None:
        self.num_rows = num_rows
        self.from_step = from_step
        self._vectors = torch.empty((0, 0), device=device)
        self._labels = torch.empty(0, dtype=torch.int64, device=device)

    def __len__(self) -> int:
        return len(self._labels)

    def rows_at(self, step: int) -> tuple[Tensor, Tensor] | None:
        """Vectors (N, d) float32 without gradient and labels (N,) int64, or None: it is too early, or N is 0."""
        return (self._vectors, self._labels) if len(self) and step >= self.from_step else None

    def add(self, vectors: Tensor, labels: Tensor) -> None:
        """Adds the batch of all processes and drops the oldest rows. vectors: (n, d), labels: (n,), of this process.

        The rows are copied, so tensors that a loss received earlier do not change.
        """
        vectors = vectors.detach().float()
        # No loss reads an unlabelled row, but a checkpoint would save its NaN.
        vectors = torch.where((labels < 0)[:, None] & ~vectors.isfinite(), 0.0, vectors)
        vectors, labels = dist.gather_rows(vectors), dist.gather_rows(labels)
        held = self._vectors if len(self) else vectors[:0]
        self._vectors = torch.cat([held, vectors])[-self.num_rows :]
        self._labels = torch.cat([self._labels, labels])[-self.num_rows :]

    def state_dict(self) -> dict[str, Tensor]:
        # torch.save of a slice would write the whole tensor that it belongs to.
        return {"vectors": self._vectors.cpu().clone(), "labels": self._labels.cpu().clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from `state_dict()`. If `num_rows` is smaller than before, the newest rows are kept."""
        device = self._labels.device
        self._vectors = state["vectors"][-self.num_rows :].to(device)
        self._labels = state["labels"][-self.num_rows :].to(device)
