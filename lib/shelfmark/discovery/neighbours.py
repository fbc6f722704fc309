"""The graph of nearest neighbours of one level. Legend: N nodes, D embedding, K = k - 1 places for neighbours."""

from __future__ import annotations

import numpy as np
import torch

from shelfmark.core.errors import UserError, choose
from shelfmark.core.types import Array
from shelfmark.ops.graph import Graph
from shelfmark.retrieval import search
from shelfmark.retrieval.approximate import approximate_neighbours

ENGINES = ("auto", "faiss", "torch", "ivf")
# From here on an exact search on a CPU takes minutes, and a thousand times that of the rest.
_MANY_NODES = 200_000


def build_graph(features: Array, k: int, engine: str = "auto") -> Graph:
    """Each node's k - 1 nearest others by cosine, as `k` counts the node itself (k=10: 9 neighbours).

    features: (N, D), of any length; float64 stays float64. A node is left out of its own neighbours by its row, so that
    a duplicate of it stays one. Similarities are at most 1; an edge of negative similarity is not valid, nor is a place
    for which no other node is left. engine: `faiss` and `torch` compare all with all; `ivf` reads a few of many lists,
    in float32; `auto` takes ivf on a CPU from 200,000 nodes on. On the device of the features.
    """
    choose("engine", engine, ENGINES)
    if k < 2:
        raise UserError(f"k={k} counts the node itself: take 2 or more.")
    vectors = torch.from_numpy(np.ascontiguousarray(features)) if isinstance(features, np.ndarray) else features
    if engine == "auto" and len(vectors) >= _MANY_NODES and vectors.device.type == "cpu":
        engine = "ivf"
    if engine == "ivf":
        similarities, rows = approximate_neighbours(vectors, k - 1)
    else:
        ids = torch.arange(len(vectors))
        similarities, rows = search(vectors, vectors, k - 1, engine, query_ids=ids, gallery_ids=ids, metric="cosine")
    valid = (rows >= 0) & (similarities >= 0)
    return Graph(
        torch.where(valid, rows, 0), torch.where(valid, similarities.clamp(max=1), 0.0).to(similarities), valid
    )
