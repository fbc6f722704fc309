"""The nearest others within one large set, read from a few lists of an IVF index. Legend: N vectors, D embedding."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.core.rng import numpy_generator
from shelfmark.retrieval import exact, faiss_module
from shelfmark.retrieval.index_kinds import parameters_for
from shelfmark.retrieval.neighbours import Neighbours
from shelfmark.retrieval.stores import IvfStore, Layout, new_store
from shelfmark.retrieval.vectors import comparable

_KIND = "ivf_flat"
# The time of k-means is sample size times centres. 64 vectors a centre give lists as good as faiss's default of 256.
_SAMPLE_PER_LIST = 64
_BLOCK_QUERIES = 65536
_SPARE_CANDIDATES = 8


def approximate_neighbours(features: Tensor, k: int, seed: int = 0, num_probes: int = 0) -> Neighbours[Tensor]:
    """Each vector's k nearest others by cosine, by their rows; -inf and -1 where there are fewer.

    features: (N, D), of any length; computed in float32 on the CPU. A vector is left out of its own neighbours by its
    row, so its duplicates are found. There are about 4 sqrt(N) lists. A search reads num_probes of them; 0 takes a 64th
    of the lists, at least 8, so that choosing lists takes little of the time. Neighbours in a list that was not read
    are missed. Memory: the features again, for the lists, and blocks.
    """
    if k < 1:
        raise UserError(f"k={k}: ask for at least one neighbour.")
    faiss_module.required("engine=ivf needs", " engine=torch is exact and needs none.")
    vectors, _ = comparable(features.cpu().float(), features[:0].cpu().float(), "cosine")
    scores = vectors.new_full((len(vectors), k), -torch.inf)
    rows = torch.full((len(vectors), k), -1, dtype=torch.int64)
    if len(vectors) < 2:
        return Neighbours(scores.to(features.device), rows.to(features.device))
    chosen = {"num_probes": num_probes} if num_probes else None
    parameters = parameters_for(_KIND, len(vectors), vectors.shape[1], chosen)
    store = _filled(vectors, parameters, seed)
    width = min(k + 1 + _SPARE_CANDIDATES, len(vectors))
    for start in range(0, len(vectors), _BLOCK_QUERIES):
        part = slice(start, start + _BLOCK_QUERIES)
        found = store.search(vectors[part].numpy(), width)
        best, order = _ranked(vectors, torch.arange(len(vectors))[part], torch.from_numpy(found.ids))
        scores[part, : min(k, width)], rows[part, : min(k, width)] = best[:, :k], order[:, :k]
    return Neighbours(scores.to(features.device), rows.to(features.device))


def _filled(vectors: Tensor, parameters: dict[str, int], seed: int) -> IvfStore:
    store = new_store(Layout(_KIND, "cosine", parameters, len(vectors)), vectors.shape[1], seed)
    assert isinstance(store, IvfStore)
    size = min(len(vectors), parameters["num_lists"] * _SAMPLE_PER_LIST)
    drawn = numpy_generator(seed, "approximate_sample").choice(len(vectors), size, replace=False)
    store.train(vectors.numpy()[np.sort(drawn)])
    for start in range(0, len(vectors), _BLOCK_QUERIES):
        store.add(vectors[start : start + _BLOCK_QUERIES].numpy())
    return store


def _ranked(vectors: Tensor, queries: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """The candidates by falling score, of equal scores the lower row first, as `search` orders them."""
    found = found.sort(dim=1).values
    is_missing = (found < 0) | (found == queries[:, None])
    scores = exact.pair_scores(vectors[queries], vectors, found.clamp_min(0), "cosine")
    scores, order = scores.masked_fill(is_missing, -torch.inf).sort(dim=1, descending=True, stable=True)
    return scores, found.masked_fill(is_missing, -1).gather(1, order)
