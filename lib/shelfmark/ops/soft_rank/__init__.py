"""Losses on smoothed ranks: one door to several implementations with the same result.

Legend: Q queries, G gallery rows, D embedding.

reference  the formula over all triples, (Q, G, G) memory, plain autograd: for tests and second derivatives
chunked    only the pairs that count, tile by tile, gradient in the forward pass: every device
triton     the same in kernels, which never write the similarities: CUDA, float32
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.ops.labelled import UNLABELLED, class_labels, finite_rows, not_finite
from shelfmark.ops.similarity import compute_dtype, require_comparable
from shelfmark.ops.soft_rank.choice import Implementation, chosen_implementation
from shelfmark.ops.soft_rank.ranking import Ranking
from shelfmark.ops.soft_rank.score import RankScore

__all__ = ["UNLABELLED", "Implementation", "RankScore", "Ranking", "soft_rank_loss", "soft_rank_total"]


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
    implementation: Implementation = "auto",
) -> Tensor:
    """The mean, over the queries that have a positive, of the mean penalty of their positives; 0-dim.

    The arguments are those of `Ranking`; the errors are those of `soft_rank_total`. Without any positive the loss is 0,
    with a gradient of zeros.
    """
    ranking = Ranking(query, query_labels, gallery, gallery_labels, self_index, score, temperature, include_self)
    total, num_queries = soft_rank_total(ranking, implementation)
    return total / max(1, num_queries)


def soft_rank_total(ranking: Ranking, implementation: Implementation = "auto") -> tuple[Tensor, int]:
    """The sum over queries of the mean penalty of their positives, 0-dim, and how many queries have a positive.

    implementation: `auto` is the fastest that gives the right result on the device; see `choice`.

    Rows without a label take no part, whatever values they hold. float64 stays float64; other dtypes are computed and
    returned in float32, under autocast too. Only `reference` has a second derivative.
    UserError: a vector that is not finite, or so long that a dot product could overflow.
    """
    ranking = _labelled(_checked(ranking))
    return chosen_implementation(implementation, ranking)(ranking)


def _checked(ranking: Ranking) -> Ranking:
    """The ranking with vectors and labels in the dtypes of the computation; it raises where a value is unusable."""
    require_comparable(ranking.query, ranking.query_labels, ranking.gallery, ranking.gallery_labels)
    if ranking.self_index.shape != ranking.query_labels.shape:
        raise ValueError(
            f"self_index must hold one row for each of {len(ranking.query)} queries,"
            f" not {tuple(ranking.self_index.shape)}"
        )
    query_labels = class_labels(ranking.query_labels, len(ranking.query))
    gallery_labels = class_labels(ranking.gallery_labels, len(ranking.gallery))
    query = ranking.query.to(compute_dtype(ranking.query))
    gallery = query if ranking.one_batch else ranking.gallery.to(query.dtype)
    _check_values(query, query_labels, "embedding" if ranking.one_batch else "query", ranking.temperature)
    if not ranking.one_batch:
        _check_values(gallery, gallery_labels, "gallery", ranking.temperature)
    ranking = ranking.with_vectors(query, gallery)
    return dataclasses.replace(ranking, query_labels=query_labels, gallery_labels=gallery_labels)


def _labelled(ranking: Ranking) -> Ranking:
    """The ranking of the rows that have a label."""
    is_ranked, is_listed = ranking.query_labels != UNLABELLED, ranking.gallery_labels != UNLABELLED
    if bool(is_ranked.all()) and bool(is_listed.all()):
        return ranking
    queries = ranking.of_queries(is_ranked)
    return dataclasses.replace(
        queries,
        gallery=queries.query if ranking.one_batch else ranking.gallery[is_listed],
        gallery_labels=ranking.gallery_labels[is_listed],
        self_index=_rows_among(is_listed, queries.self_index),
    )


def _rows_among(kept: Tensor, rows: Tensor) -> Tensor:
    """`rows` of a tensor as rows of its kept part: -1 where a row is not kept, or was -1."""
    if not len(kept):
        return rows
    place = torch.where(kept, kept.cumsum(0) - 1, -1)
    return torch.where(rows >= 0, place[rows.clamp_min(0)], -1)


def _check_values(vectors: Tensor, labels: Tensor, name: str, temperature: float) -> None:
    """Checks the rows that have a label. It waits for a GPU, once where the vectors are good."""
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
