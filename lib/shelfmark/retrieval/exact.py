"""Exact search in blocks of a product, on any device. Legend: Q queries, G gallery, D embedding, K places."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK_QUERIES = 1024
_BLOCK_GALLERY = 32768
_PAIR_VALUES = 1 << 18  # small enough to stay in a CPU's cache, which halves the time


def best_rows(query: Tensor, gallery: Tensor, k: int, metric: str) -> Tensor:
    """(Q, k) int64 rows of the k best gallery vectors, k <= G, as float32 products find them.

    Runs on the query's device; the gallery passes through it block by block. Equal scores come in any order;
    `pair_scores` gives the exact scores.
    """
    found = [_best_of_block(block, gallery, k, metric) for block in query.split(_BLOCK_QUERIES)]
    return torch.cat(found) if found else torch.empty(0, k, dtype=torch.int64, device=query.device)


def pair_scores(query: Tensor, gallery: Tensor, rows: Tensor, metric: str) -> Tensor:
    """(Q, K) scores of the pairs query i, gallery rows[i, j]: summed in float64, rounded to the query's dtype.

    So a score depends on the two vectors alone, not on an engine or a block, and equal vectors score equally.
    dot and cosine: the inner product. euclidean: the negative distance.
    """
    scores = torch.empty(rows.shape, dtype=query.dtype, device=query.device)
    width, dim = rows.shape[1], query.shape[1]
    columns = max(1, min(width, _PAIR_VALUES // dim))
    step = max(1, _PAIR_VALUES // (columns * dim))
    for top in range(0, len(rows), step):
        left = query[top : top + step, None].double()
        for start in range(0, width, columns):
            block = (slice(top, top + step), slice(start, start + columns))
            right = gallery[rows[block].to(gallery.device)].to(query.device).double()
            if metric == "euclidean":
                scores[block] = -right.sub_(left).square_().sum(dim=2).sqrt_()
            else:
                scores[block] = right.mul_(left).sum(dim=2)
    return scores


def products(
    query: Tensor, gallery: Tensor, metric: str, squares: Tensor | None = None, out: Tensor | None = None
) -> Tensor:
    """(Q, G) scores that rank a gallery for each query: the inner product, or for euclidean 2 q.g - |g|^2.

    For a caller that compares many blocks with one gallery: squares, the gallery's (G,) `squared_norms`; out, (Q, G)
    memory for the result, because new memory for each block took a fifth of the time.
    """
    scores = torch.mm(query, gallery.T, out=out)
    if metric != "euclidean":
        return scores
    # The query's own norm is the same for the whole row, so the order does not need it.
    return scores.mul_(2).sub_(squared_norms(gallery) if squares is None else squares)


def squared_norms(vectors: Tensor) -> Tensor:
    """(N,) |v|^2, without a copy of all vectors at a time."""
    found = [block.square().sum(dim=1) for block in vectors.split(_BLOCK_GALLERY)]
    return torch.cat(found) if found else vectors.new_empty(0)


def _best_of_block(query: Tensor, gallery: Tensor, k: int, metric: str) -> Tensor:
    values, rows = query.new_empty(len(query), 0), torch.empty(len(query), 0, dtype=torch.int64, device=query.device)
    for start in range(0, len(gallery), _BLOCK_GALLERY):
        block = gallery[start : start + _BLOCK_GALLERY].to(query.device)
        best = products(query, block, metric).topk(min(k, len(block)), dim=1)
        values, rows = torch.cat([values, best.values], dim=1), torch.cat([rows, best.indices + start], dim=1)
        values, places = values.topk(min(k, values.shape[1]), dim=1)
        rows = rows.gather(1, places)
    return rows
