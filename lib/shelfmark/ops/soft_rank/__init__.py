"""Losses on smoothed ranks: one door, behind it twins with the same result.

Legend: Q queries, M gallery rows, D embedding.

reference  the formula over all triples, (Q, M, M) memory, plain autograd: for tests and second derivatives
chunked    only the pairs that count, tile by tile, gradient in the forward pass: every device
triton     the same with kernels that keep the similarities to themselves: CUDA, float32
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.ops.labelled import UNLABELLED, class_labels, finite_rows, not_finite
from shelfmark.ops.similarity import compute_dtype, require_comparable
from shelfmark.ops.soft_rank.choice import Twin, chosen_twin
from shelfmark.ops.soft_rank.score import RankScore

__all__ = ["UNLABELLED", "RankScore", "Twin", "soft_rank_loss", "soft_rank_total"]


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
    twin: Twin = "auto",
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
        twin=twin,
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
    twin: Twin = "auto",
) -> tuple[Tensor, int]:
    """The sum over queries of the mean penalty of their positives, 0-dim, and how many queries have a positive.

    query: (Q, D), gallery: (M, D), not normalised here. query_labels: (Q,), gallery_labels: (M,), integers, -1 where
    there is none: such rows take no part, whatever they hold.
    self_index: (Q,) int64, each query's own row in the gallery, -1 where it is not there.
    score: the penalty of a positive's place. A negative j stands before a positive i by
    sg((s_qj - s_qi) / temperature), with s the dot product and sg the logistic step, constant beyond 50.
    include_self: whether a query is its own positive (as the losses' first authors have it) or out of its ranking.
    twin: `auto` is the fastest one that gives the right result on the query's device; see `choice.chosen_twin`.

    float64 stays float64; anything else is computed and returned in float32, whatever autocast says. Only the
    reference twin has a second derivative.
    UserError: a vector that is not finite, or so long that a dot product could overflow.
    """
    require_comparable(query, query_labels, gallery, gallery_labels)
    if self_index.shape != query_labels.shape:
        raise ValueError(
            f"self_index must hold one row for each of {len(query)} queries, not {tuple(self_index.shape)}"
        )
    one_batch = gallery is query
    query_labels = class_labels(query_labels, len(query))
    gallery_labels = class_labels(gallery_labels, len(gallery))
    query = query.to(compute_dtype(query))
    gallery = query if one_batch else gallery.to(query.dtype)
    _check_values(query, query_labels, "embedding" if one_batch else "query", temperature)
    if not one_batch:
        _check_values(gallery, gallery_labels, "gallery", temperature)
    is_ranked, is_listed = query_labels != UNLABELLED, gallery_labels != UNLABELLED
    if not bool(is_ranked.all()) or not bool(is_listed.all()):
        self_index = _rows_among(is_listed, self_index)[is_ranked]
        query, query_labels = query[is_ranked], query_labels[is_ranked]
        gallery, gallery_labels = query if one_batch else gallery[is_listed], gallery_labels[is_listed]
    return chosen_twin(twin, query, temperature)(
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


def _check_values(vectors: Tensor, labels: Tensor, name: str, temperature: float) -> None:
    """Of the rows with a label. It waits for a GPU, once for good vectors."""
    if not vectors.numel():
        return
    is_labelled = labels != UNLABELLED
    least, greatest = torch.aminmax(torch.where(is_labelled[:, None], vectors.detach(), 0))
    largest = float(torch.maximum(greatest, -least))
    if not math.isfinite(largest):
        raise not_finite(name, is_labelled & ~finite_rows(vectors))
    if largest**2 * vectors.shape[1] / min(temperature, 1) > torch.finfo(vectors.dtype).max:
        raise UserError(
            f"the {name} of a ranking loss holds values of {largest:.1e}; their dot products over the temperature"
            f" {temperature} overflow. Normalise the vectors before the loss, as a metric head does."
        )
