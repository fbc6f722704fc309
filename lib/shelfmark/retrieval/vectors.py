"""Vectors and identities, made ready to be compared. Legend: Q queries, G gallery, D embedding."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.errors import UserError, choose
from shelfmark.core.strings import Strings
from shelfmark.core.types import Array

Ids = Tensor | np.ndarray | Strings | Sequence[str] | Sequence[int]
METRICS = ("cosine", "euclidean", "dot")


def comparable(query: Array, gallery: Array, metric: str) -> tuple[Tensor, Tensor]:
    """Query (Q, D) and gallery (G, D) as finite float32 (float64 where both are), unit rows for cosine.

    A zero vector has no direction: it stays zero, so that its cosine with everything is 0.
    """
    choose("metric", metric, METRICS)
    is_one_set = gallery is query
    query, gallery = _matrix(query, "query"), _matrix(gallery, "gallery")
    if query.shape[1] != gallery.shape[1]:
        raise UserError(
            f"query vectors have {query.shape[1]} dimensions and gallery vectors {gallery.shape[1]}; "
            "both must come from the same checkpoint."
        )
    is_double = query.dtype == gallery.dtype == torch.float64
    dtype = torch.float64 if is_double else torch.float32
    # Usually a set is searched in itself: then it is prepared once.
    ready_query = _ready(query, metric, dtype, "query")
    ready_gallery = ready_query if is_one_set else _ready(gallery, metric, dtype, "gallery")
    return ready_query, ready_gallery


def as_tensor(values: Array) -> Tensor:
    """The same memory as a tensor. Do not write to that of a read-only memory map."""
    if isinstance(values, Tensor):
        return values
    if values.flags.writeable:
        return torch.from_numpy(values)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(values)


def id_codes(query_ids: Ids, gallery_ids: Ids, num_queries: int, num_gallery: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids as int64 (Q,) and (G,): equal ids, equal numbers. All ids are integers, or all are text."""
    for name, ids, length in (("query", query_ids, num_queries), ("gallery", gallery_ids, num_gallery)):
        if len(ids) != length:
            raise UserError(f"{len(ids)} {name} ids for {length} {name} vectors; each vector needs its id.")
    query, gallery = _integers(query_ids), _integers(gallery_ids)
    if query is not None and gallery is not None:
        return query, gallery
    if query is not None or gallery is not None:
        raise UserError("query ids and gallery ids must be of one kind, all integers or all text, or none would match.")
    numbers: dict[str, int] = {}
    coded = [
        np.fromiter((numbers.setdefault(str(one), len(numbers)) for one in ids), np.int64, len(ids))
        for ids in (query_ids, gallery_ids)
    ]
    return coded[0], coded[1]


def _matrix(given: Array, name: str) -> Tensor:
    values = as_tensor(given)
    if values.ndim != 2 or values.shape[1] == 0:
        raise UserError(f"{name} vectors are {tuple(values.shape)}; expected (N, D).")
    return values.detach()


def _ready(vectors: Tensor, metric: str, dtype: torch.dtype, name: str) -> Tensor:
    vectors = vectors.to(dtype)
    if len(vectors) == 0:
        return vectors
    low, high = (float(bound) for bound in torch.aminmax(vectors))
    largest = max(abs(low), abs(high))
    if not np.isfinite(largest):
        row = int((~vectors.isfinite().all(dim=1)).nonzero()[0])
        raise UserError(f"{name} vector {row} holds NaN or infinity, which is near to nothing. Check how it was made.")
    if metric == "cosine":
        norms = torch.linalg.vector_norm(vectors, dim=1, keepdim=True, dtype=torch.float64)
        return vectors / norms.masked_fill(norms == 0, 1).to(dtype)
    if largest**2 * vectors.shape[1] * 4 > torch.finfo(torch.float32).max:
        raise UserError(f"{name} vectors reach {largest:g}, too large for float32 products. Use metric=cosine.")
    return vectors.contiguous()


def _integers(ids: Ids) -> np.ndarray | None:
    if isinstance(ids, Strings):
        return None
    array = ids.cpu().numpy() if isinstance(ids, Tensor) else np.asarray(ids)
    return array.astype(np.int64) if array.dtype.kind in "iu" else None
