"""Losses on smoothed ranks: one door, behind it twins with the same result.

Legend: Q queries, M gallery rows, D embedding.

reference  the formula over all triples, (Q, M, M) memory, plain autograd: for tests and second derivatives
chunked    only the pairs that count, tile by tile, gradient in the forward pass: every device
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.ops.similarity import compute_dtype
from shelfmark.ops.soft_rank import chunked
from shelfmark.ops.soft_rank.score import RankScore

__all__ = ["UNLABELLED", "RankScore", "soft_rank_loss", "soft_rank_total"]

UNLABELLED = -1
"""Rows with this label take no part: they are neither queries nor positives nor negatives."""


def soft_rank_loss(
    query: Tensor,
    query_labels: Tensor,
    gallery: Tensor,
    gallery_labels: Tensor,
    self_index: Tensor,
    *,
    score: RankScore,
    temperature: float,
    include_self: bool = False,
) -> Tensor:
    """The mean, over the queries that have a positive, of the mean penalty of their positives; 0-dim.

    Arguments and errors are those of `soft_rank_total`. Without any positive the loss is 0 and its gradient zeros.
    """
    total, num_queries = soft_rank_total(
        query,
        query_labels,
        gallery,
        gallery_labels,
        self_index,
        score=score,
        temperature=temperature,
        include_self=include_self,
    )
    return total / max(1, num_queries)


def soft_rank_total(
    query: Tensor,
    query_labels: Tensor,
    gallery: Tensor,
    gallery_labels: Tensor,
    self_index: Tensor,
    *,
    score: RankScore,
    temperature: float,
    include_self: bool = False,
) -> tuple[Tensor, int]:
    """The sum over queries of the mean penalty of their positives, 0-dim, and how many queries have a positive.

    query: (Q, D), gallery: (M, D), not normalised here. query_labels: (Q,), gallery_labels: (M,), integers.
    self_index: (Q,) int64, each query's own row in the gallery, -1 where it is not there.
    score: the penalty of a positive's place. A negative j stands before a positive i by
    sg((s_qj - s_qi) / temperature), with s the dot product and sg the logistic step, constant beyond 50.
    include_self: whether a query is its own positive (as the losses' first authors have it) or out of its ranking.

    float64 stays float64; anything else is computed and returned in float32, whatever autocast says. There is no
    second derivative.
    UserError: a vector that is not finite, or so long that a dot product could overflow.
    """
    _check_shapes(query, query_labels, gallery, gallery_labels, self_index)
    one_batch = gallery is query
    query = query.to(compute_dtype(query))
    gallery = query if one_batch else gallery.to(query.dtype)
    _check_values(query, "embedding" if one_batch else "query", temperature)
    if not one_batch:
        _check_values(gallery, "gallery", temperature)
    is_ranked, is_listed = query_labels != UNLABELLED, gallery_labels != UNLABELLED
    if not bool(is_ranked.all()) or not bool(is_listed.all()):
        self_index = _rows_among(is_listed, self_index)[is_ranked]
        query, query_labels = query[is_ranked], query_labels[is_ranked]
        gallery, gallery_labels = query if one_batch else gallery[is_listed], gallery_labels[is_listed]
    return chunked.soft_rank_total(
        query,
        query_labels,
        gallery,
        gallery_labels,
        self_index,
        score=score,
        temperature=temperature,
        include_self=include_self,
    )


def _rows_among(kept: Tensor, rows: Tensor) -> Tensor:
    """`rows` of a tensor as rows of its kept part: -1 where a row is not kept, or was -1."""
    if not len(kept):
        return rows
    place = torch.where(kept, kept.cumsum(0) - 1, -1)
    return torch.where(rows >= 0, place[rows.clamp_min(0)], -1)


def _check_shapes(
    query: Tensor, query_labels: Tensor, gallery: Tensor, gallery_labels: Tensor, self_index: Tensor
) -> None:
    for name, vectors, labels in (("embedding", query, query_labels), ("gallery", gallery, gallery_labels)):
        if vectors.ndim != 2 or not vectors.is_floating_point():
            raise ValueError(
                f"the {name} must be (rows, dimensions) of floats, not {vectors.dtype} {tuple(vectors.shape)}"
            )
        if labels.shape != vectors.shape[:1] or labels.is_floating_point():
            raise ValueError(
                f"labels must be {len(vectors)} whole numbers, one a row of the {name},"
                f" not {labels.dtype} {tuple(labels.shape)}"
            )
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(f"queries have {query.shape[1]} dimensions, the gallery has {gallery.shape[1]}")
    if self_index.shape != query_labels.shape:
        raise ValueError(
            f"self_index must hold one row for each of {len(query)} queries, not {tuple(self_index.shape)}"
        )


def _check_values(vectors: Tensor, name: str, temperature: float) -> None:
    if not vectors.numel():
        return
    largest = max(abs(float(bound)) for bound in torch.aminmax(vectors.detach()))
    if not math.isfinite(largest):
        rows = (~vectors.isfinite().all(1)).nonzero()[:, 0].tolist()
        named = ", ".join(map(str, rows[:5])) + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")
        raise UserError(
            f"the {name} of a ranking loss is not finite in rows {named} of {len(vectors)}."
            " Training has diverged: lower optim.lr, add optim.schedule.warmup_epochs or optim.clip_norm,"
            " or set train.precision=fp32."
        )
    if largest**2 * vectors.shape[1] / min(temperature, 1) > torch.finfo(vectors.dtype).max:
        raise UserError(
            f"the {name} of a ranking loss holds values of {largest:.1e}; their dot products over the temperature"
            f" {temperature} overflow. Normalise the vectors before the loss, as a metric head does."
        )
