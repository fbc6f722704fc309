"""Vectors moved to the weighted mean of their neighbours. Legend: Q queries, G gallery, N vectors, D embedding.

Sources: Radenovic, Tolias, Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019, section 3.5
(alpha-QE); Arandjelovic, Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012
(augmentation of the database).
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.retrieval.nearest import exact_neighbours
from shelfmark.retrieval.vectors import comparable

A = TypeVar("A", np.ndarray, Tensor)
_BLOCK_VALUES = 1 << 22


def alpha_qe(query: A, gallery: A, alpha: float = 3.0, k: int = 5) -> tuple[A, A]:
    """Expanded queries (Q, D) and gallery (G, D): x_i becomes 1/k * sum over its k nearest j of cos(i, j)^alpha x_j.

    query (Q, D), gallery (G, D): numpy or torch, of any length. The neighbours come from queries and gallery together.
    The first is x_i itself, with weight 1; with fewer than k vectors all are taken. The result is not normalised: a
    comparison by cosine does that. If alpha is no whole number, a negative cosine counts as 0. Memory: N k neighbours
    and blocks, never N x N.
    """
    vectors, units = _together(query, gallery)
    expanded = _neighbour_means(vectors, units, alpha, k)
    return _as_given(expanded[: len(query)], query), _as_given(expanded[len(query) :], gallery)


def augment_database(gallery: A, alpha: float = 3.0, k: int = 5) -> A:
    """The gallery (G, D) by the formula of `alpha_qe`, with neighbours in the gallery alone: computed once for all
    queries."""
    vectors, units = _together(gallery[:0], gallery)
    return _as_given(_neighbour_means(vectors, units, alpha, k), gallery)


def _together(query: A, gallery: A) -> tuple[Tensor, Tensor]:
    """All vectors (N, D) as they are, on the queries' device, and with length 1."""
    vectors, units = (
        torch.cat([of_query, of_gallery.to(of_query.device)])
        for of_query, of_gallery in (comparable(query, gallery, metric) for metric in ("dot", "cosine"))
    )
    return vectors, units


def _neighbour_means(vectors: Tensor, units: Tensor, alpha: float, k: int) -> Tensor:
    if k < 1:
        raise UserError(f"k={k}: a vector is its own first neighbour, so ask for at least 1.")
    if not 0 <= alpha < float("inf"):
        raise UserError(f"alpha={alpha}: the power of a neighbour's cosine must be 0 or more.")
    cosines, rows = exact_neighbours(units, k - 1)
    weights = (cosines if float(alpha).is_integer() else cosines.clamp_min(0)) ** alpha
    means = vectors.clone()
    step = max(1, _BLOCK_VALUES // max(1, rows.shape[1] * vectors.shape[1]))
    for start in range(0, len(vectors), step):
        block = slice(start, start + step)
        means[block] += (weights[block, :, None] * vectors[rows[block]]).sum(dim=1)
    return means / (1 + rows.shape[1])


def _as_given(vectors: Tensor, given: A) -> A:
    return vectors.numpy() if isinstance(given, np.ndarray) else vectors.to(given.device)
