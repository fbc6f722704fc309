"""Exact search by faiss. The one file that knows it."""

from __future__ import annotations

import importlib.util

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.errors import UserError


def is_installed() -> bool:
    """Whether faiss can be imported, without importing it."""
    return importlib.util.find_spec("faiss") is not None


def best_rows(query: Tensor, gallery: Tensor, k: int, metric: str) -> Tensor:
    """(Q, k) int64 rows of the k best gallery vectors, k <= G, as float32 products find them; any order among equals.

    Reads the vectors where they lie, without an index; runs on the CPU with as many threads as torch uses.
    """
    if not is_installed():
        raise UserError("engine=faiss needs faiss: pip install faiss-cpu. engine=torch gives the same neighbours.")
    import faiss

    kind = faiss.METRIC_L2 if metric == "euclidean" else faiss.METRIC_INNER_PRODUCT
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(torch.get_num_threads())
    try:
        _, rows = faiss.knn(_plain(query), _plain(gallery), k, metric=kind)
    finally:
        faiss.omp_set_num_threads(threads)
    return torch.from_numpy(rows).to(query.device)


def _plain(vectors: Tensor) -> np.ndarray:
    return np.ascontiguousarray(vectors.cpu().numpy(), dtype=np.float32)
