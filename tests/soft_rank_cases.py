"""Soft-rank losses on numpy arrays, so that a case can be worked out in another process too.

Triton decides when it is imported whether it interprets its kernels: they are tried in a process of their own.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from shelfmark.ops.soft_rank import Ranking, programs, soft_rank_loss, soft_rank_total
from shelfmark.ops.soft_rank.chunked import WorkingMemory


class CountAhead:
    """PNP-O: the number of negatives ahead."""

    uses_rank = False
    needs_negatives = True

    def value(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> Tensor:
        return ahead

    def slopes(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> tuple[Tensor, Tensor]:
        return torch.ones_like(ahead), torch.zeros_like(rank)


class Imprecision:
    """Smooth-AP: N / (R + N)."""

    uses_rank = True
    needs_negatives = True

    def value(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> Tensor:
        return ahead / (rank + ahead)

    def slopes(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> tuple[Tensor, Tensor]:
        return rank / (rank + ahead) ** 2, -ahead / (rank + ahead) ** 2


class Place:
    """The squared place in the whole ranking, over the number of positives: a query without a negative has one too."""

    uses_rank = True
    needs_negatives = False

    def value(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> Tensor:
        return (rank + ahead) ** 2 / num_positives

    def slopes(self, ahead: Tensor, rank: Tensor, num_positives: Tensor | int) -> tuple[Tensor, Tensor]:
        slope = 2 * (rank + ahead) / num_positives
        return slope, slope


AHEAD, IMPRECISION, PLACE = SCORES = CountAhead(), Imprecision(), Place()


def batch(sizes: list[int], dim: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors that float32 holds exactly, of classes with so many rows each, in any order; and their labels."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(sum(sizes), dim))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x.astype(np.float32).astype(np.float64), generator.permutation(np.repeat(np.arange(len(sizes)), sizes))


class Evaluated(NamedTuple):
    """gradients: by the query and, where it is another, by the gallery."""

    total: float
    num_queries: int
    gradients: list[np.ndarray]


def evaluated(
    implementation: str,
    query: np.ndarray,
    labels: np.ndarray,
    gallery: np.ndarray | None = None,
    gallery_labels: np.ndarray | None = None,
    self_index: np.ndarray | None = None,
    *,
    dtype: torch.dtype | None = None,
    constants: dict[str, int] | None = None,
    memory: tuple[int, int] | None = None,
    by_columns: bool = False,
    **options: Any,
) -> Evaluated:
    """Total and gradients. Without a gallery the queries are it.

    dtype: by default float32 for the kernels, else float64. constants: of `programs`, to be changed. memory: of
    `chunked`, to be changed. by_columns: whether the vectors lie in memory dimension by dimension.
    """
    dtype = dtype or (torch.float32 if implementation == "triton" else torch.float64)
    x = torch.tensor(query.T.copy() if by_columns else query, dtype=dtype)
    x = (x.T if by_columns else x).requires_grad_()
    rows = np.arange(len(labels)) if self_index is None else self_index
    y, y_labels = x, labels
    if gallery is not None and gallery_labels is not None:
        y, y_labels = torch.tensor(gallery, dtype=dtype, requires_grad=True), gallery_labels
    ranking = Ranking(x, torch.tensor(labels), y, torch.tensor(y_labels), torch.tensor(rows), **options)
    room = WorkingMemory(*memory) if memory else WorkingMemory.of(x.device)
    with (
        mock.patch.dict(vars(programs), constants or {}),
        mock.patch.object(WorkingMemory, "of", return_value=room),
    ):
        total, num_queries = soft_rank_total(ranking, implementation)
    gradients = torch.autograd.grad(total, [x] if gallery is None else [x, y])
    return Evaluated(float(total.detach()), num_queries, [each.double().numpy() for each in gradients])


def gradients_that_are_wanted(implementation: str, query: np.ndarray, gallery: np.ndarray, labels: np.ndarray) -> dict:
    """The value, and the gradients of three times the value, for each choice of what needs a gradient."""
    found: dict[str, list[Any]] = {}
    t, nowhere = torch.tensor(labels), torch.full((len(labels),), -1)
    for wanted in ("both", "query", "gallery", "neither"):
        x = torch.tensor(query, dtype=torch.float32, requires_grad=wanted in ("both", "query"))
        y = torch.tensor(gallery, dtype=torch.float32, requires_grad=wanted in ("both", "gallery"))
        options = {"score": IMPRECISION, "temperature": 0.1, "implementation": implementation}
        with torch.set_grad_enabled(wanted != "neither"):
            loss = soft_rank_loss(x, t, y, t, nowhere, **options)
        if loss.requires_grad:
            (3 * loss).backward()
        found[wanted] = [float(loss.detach()), *(None if v.grad is None else v.grad.numpy() for v in (x, y))]
    return found


class Witness(TorchFunctionMode):
    """Notes what is computed, and the most elements of any result but for bytes, which Triton's interpreter moves."""

    def __init__(self) -> None:
        super().__init__()
        self.num_elements = 0
        self.names: set[str] = set()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.names.add(function.__name__)
        result = function(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor) and leaf.dtype != torch.uint8]
        self.num_elements = max([self.num_elements, *(tensor.numel() for tensor in tensors)])
        return result


def most_elements(*arguments: Any, **options: Any) -> int:
    """Of any tensor on the way to the gradient."""
    with Witness() as witness:
        evaluated(*arguments, **options)
    return witness.num_elements
