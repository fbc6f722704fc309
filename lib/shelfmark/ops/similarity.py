"""Dot products in true float32, whatever autocast and TF32 say. Legend: Q queries, G gallery rows, D embedding.

A ranking loss divides differences of similarities by a temperature of 0.01: bfloat16's rounding of 4e-3 would
become 0.4, TF32's 5e-4 would become 0.05.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


def dot_products(query: Tensor, gallery: Tensor) -> Tensor:
    """The dot product of every query with every gallery row: (Q, D) and (G, D) to (Q, G).

    float64 stays float64, everything else is computed and returned in float32. The gradient is as exact.
    """
    dtype = compute_dtype(query)
    return _DotProducts.apply(query.to(dtype), gallery.to(dtype))


def compute_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype that similarities of such vectors are computed in: float64 for float64, else float32."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def require_comparable(query: Tensor, query_labels: Tensor, gallery: Tensor, gallery_labels: Tensor) -> None:
    """Raises a ValueError unless these are (Q, D) and (G, D) floats with (Q,) and (G,) whole numbers."""
    for name, vectors, labels in (("embedding", query, query_labels), ("gallery", gallery, gallery_labels)):
        if vectors.ndim != 2 or not vectors.is_floating_point():
            raise ValueError(
                f"the {name} must be (rows, dimensions) of floats, not {vectors.dtype} {tuple(vectors.shape)}"
            )
        if labels.shape != vectors.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
            raise ValueError(
                f"labels must be {len(vectors)} whole numbers, one a row of the {name},"
                f" not {labels.dtype} {tuple(labels.shape)}"
            )
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(f"queries have {query.shape[1]} dimensions, the gallery has {gallery.shape[1]}")


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Matrix products inside take float32 as float32: no autocast, TF32 or bfloat16 shortcut.

    torch keeps the switch for TF32 once for the whole process; it is put back at the end, but products of other
    threads are exact meanwhile too.
    """
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    overall = _overall_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(overall)
        for backend, precision in zip(backends, before):
            backend.fp32_precision = precision


def _overall_precision() -> str:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        # torch refuses to name it where a program used only the newer switch of each backend: it is untouched.
        return "highest"


class _DotProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, gallery: Tensor) -> Tensor:
        ctx.save_for_backward(query, gallery)
        with full_precision(query.device):
            return query @ gallery.T

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, Tensor | None]:
        query, gallery = ctx.saved_tensors
        with full_precision(query.device):
            return (
                upstream[0] @ gallery if ctx.needs_input_grad[0] else None,
                upstream[0].T @ query if ctx.needs_input_grad[1] else None,
            )
