"""Retrieval scores as two older code bases define them, for comparison only. Legend: Q queries, D embedding.

They differ from docs/definitions.md: the first neighbour is dropped by its position, whoever it is; a query without a
positive counts as a miss; and `pnp` divides average precisions by the class size with the query in it, so that a
perfect search scores (n_c - 1) / n_c. With a gallery nothing is dropped. Ties go by gallery row; the originals leave
them open.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.errors import UserError, choose
from shelfmark.retrieval import search
from shelfmark.retrieval.query_gallery import QueryGallery, RowsByKey
from shelfmark.retrieval.vectors import comparable

DEFINITIONS = ("pnp", "fastreid")
_BLOCK_NEIGHBOURS = 1 << 22
_AP_PLACES, _AP_PLACES_LIM = 1000, 1023


def legacy_scores(sides: QueryGallery, ks: Iterable[int], definitions: str, metric: str = "cosine") -> dict[str, float]:
    """Fractions, means over all labelled queries, by the originals' names.

    fastreid: recall@K. pnp: recall@K and precision@K; map_1000, map_lim and map_c, the average precision over the first
    1000, 1023 or n_c neighbours divided by n_c, the gallery items of the query's class.

    A query labelled -1 is left out; ids count nothing. pnp's own metrics are the distance of normalised
    vectors, fastreid's the cosine: metric=cosine ranks as both.
    """
    ks = list(ks)
    choose("legacy metrics", definitions, DEFINITIONS)
    if not ks or min(ks) < 1:
        raise UserError(f"ks={ks}: Recall@K needs at least one K, each at least 1.")
    query, gallery = comparable(sides.query, sides.gallery, metric)
    queries = np.flatnonzero(sides.query_labels >= 0)
    if not len(queries):
        raise UserError("No query has a label, so there is nothing to score.")
    class_sizes = RowsByKey(sides.gallery_labels).count(sides.query_labels)
    depth = max(*ks, *((_AP_PLACES_LIM, class_sizes[queries].max()) if definitions == "pnp" else ()), 1)
    totals: dict[str, float] = {}
    for rows in np.array_split(queries, -(-len(queries) // max(1, _BLOCK_NEIGHBOURS // depth))):
        hits = _hits(query[torch.from_numpy(rows)], gallery, sides, rows, depth, metric)
        found = _recalls(hits, ks)
        if definitions == "pnp":
            found |= _pnp_only(hits, ks, torch.from_numpy(class_sizes[rows]))
        for name, values in found.items():
            totals[name] = totals.get(name, 0.0) + float(values.double().sum())
    return {name: total / len(queries) for name, total in totals.items()}


def _hits(query: Tensor, gallery: Tensor, sides: QueryGallery, rows: np.ndarray, depth: int, metric: str) -> Tensor:
    """(q, K) bool, best first. Where a set is searched in itself, the first neighbour is dropped, whoever it is."""
    dropped = int(sides.is_same_set)
    # The vectors have length 1 here, so their inner product is the cosine.
    metric = "dot" if metric == "cosine" else metric
    found = search(query, gallery, min(depth + dropped, len(gallery)), metric=metric)
    neighbours = found.ids[:, dropped:].cpu().numpy()
    return torch.from_numpy(sides.gallery_labels[neighbours] == sides.query_labels[rows, None])


def _recalls(hits: Tensor, ks: list[int]) -> dict[str, Tensor]:
    return {f"recall@{k}": hits[:, :k].any(dim=1) for k in ks}


def _pnp_only(hits: Tensor, ks: list[int], class_sizes: Tensor) -> dict[str, Tensor]:
    places = torch.arange(1, hits.shape[1] + 1)
    precisions = hits.cumsum(dim=1) / places.double() * hits
    of_class = precisions * (places <= class_sizes[:, None])
    sizes = class_sizes.clamp_min(1)
    return {
        **{f"precision@{k}": hits[:, :k].sum(dim=1) / k for k in ks},
        "map_1000": precisions[:, :_AP_PLACES].sum(dim=1) / sizes,
        "map_lim": precisions[:, :_AP_PLACES_LIM].sum(dim=1) / sizes,
        "map_c": of_class.sum(dim=1) / sizes,
    }
