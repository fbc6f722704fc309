"""Exact search and k-means by faiss, which read the vectors where they lie.

Legend: N vectors, D embedding, Q queries, G gallery.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.core.rng import derive_seed
from shelfmark.retrieval import faiss_module


def best_rows(query: Tensor, gallery: Tensor, k: int, metric: str) -> Tensor:
    """(Q, k) int64 rows of the k best gallery vectors, k <= G, as float32 products find them; any order among equals.

    Runs on the CPU with as many threads as torch uses.
    """
    faiss = faiss_module.required("engine=faiss needs", " engine=torch gives the same neighbours.")
    kind = faiss.METRIC_L2 if metric == "euclidean" else faiss.METRIC_INNER_PRODUCT
    with faiss_module.torch_threads():
        _, rows = faiss.knn(_plain(query), _plain(gallery), k, metric=kind)
    return torch.from_numpy(rows).to(query.device)


def k_means(vectors: Tensor, num_clusters: int, seed: int = 0, iterations: int = 20, spherical: bool = False) -> Tensor:
    """(N,) int64 cluster of each vector by Lloyd's algorithm, from centres that the seed draws among the vectors.

    vectors: (N, D), at least as many as clusters. All of them are used, however many a cluster. On the CPU.
    spherical: centres have length 1, and a vector goes to that of the greatest inner product.
    """
    faiss = faiss_module.required("Clusters need")
    if not 1 <= num_clusters <= len(vectors):
        raise UserError(
            f"{num_clusters} clusters of {len(vectors)} vectors: ask for 1 to as many as there are vectors."
        )
    plain = _plain(vectors)
    settings = {"niter": iterations, "seed": derive_seed(seed, "k-means") % 2**31, "spherical": spherical}
    # Lifts faiss's limits on vectors a cluster: with fewer it would print a warning, with more take a sample.
    settings |= {"min_points_per_centroid": 1, "max_points_per_centroid": len(plain)}
    with faiss_module.torch_threads():
        engine = faiss.Kmeans(plain.shape[1], num_clusters, **settings)
        engine.train(plain)
        _, rows = engine.index.search(plain, 1)
    return torch.from_numpy(rows[:, 0])


def _plain(vectors: Tensor) -> np.ndarray:
    return np.ascontiguousarray(vectors.cpu().numpy(), dtype=np.float32)
