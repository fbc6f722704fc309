"""Scores of ranked lists. Legend: Q queries, K places of a list, R positives of a query.

Denominators, ties and the rule about the query itself: docs/definitions.md.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def recall_at_k(hits: Tensor, ks: Iterable[int], num_positives: Tensor | None = None) -> dict[int, float | None]:
    """For each k the share of queries with a hit among the first k places; None where no query has a positive.

    hits: (Q, K) bool, best first; a list shorter than k counts as it is. num_positives: (Q,) relevant
    gallery items without the query itself; queries with 0 are left out, without the argument none is.
    """
    hits = _as_hits(hits)
    if num_positives is not None:
        hits = hits[torch.as_tensor(num_positives) > 0]
    return {k: mean_or_none(hits[:, : _checked_k(k)].any(dim=1)) for k in ks}


def precision_at_k(hits: Tensor, ks: Iterable[int], num_positives: Tensor | None = None) -> dict[int, float | None]:
    """For each k the mean over queries of the hits among the first k places, divided by k.

    As `recall_at_k`; the divisor is k also where a list or the query's positives are fewer.
    """
    hits = _as_hits(hits)
    if num_positives is not None:
        hits = hits[torch.as_tensor(num_positives) > 0]
    return {k: mean_or_none(hits[:, : _checked_k(k)].sum(dim=1) / k) for k in ks}


def average_precision(hits: Tensor, num_positives: Tensor | None = None) -> Tensor:
    """(Q,) float64 average precision of each query: the precisions at its hits, summed, over num_positives.

    hits: (Q, K) bool, best first. num_positives: (Q,) relevant gallery items without the query itself; by
    default the hits, which is right where the list holds the whole gallery. NaN for a query with 0.
    """
    hits, num_positives = _checked(hits, num_positives)
    return _precisions_at_hits(hits).sum(dim=1) / num_positives


def average_precision_at_r(hits: Tensor, num_positives: Tensor | None = None) -> Tensor:
    """(Q,) float64 average precision over the first R places, R being the query's own num_positives."""
    hits, num_positives = _checked(hits, num_positives)
    within = _places_within_r(hits, num_positives)
    return (_precisions_at_hits(hits) * within).sum(dim=1) / num_positives


def average_precision_at_k(hits: Tensor, k: int, num_positives: Tensor | None = None) -> Tensor:
    """(Q,) float64 average precision over the first k places, divided by min(num_positives, k)."""
    hits, num_positives = _checked(hits, num_positives)
    return _precisions_at_hits(hits[:, : _checked_k(k)]).sum(dim=1) / num_positives.clamp_max(k)


def precision_at_r(hits: Tensor, num_positives: Tensor | None = None) -> Tensor:
    """(Q,) float64 share of hits among the first R places, R being the query's own num_positives."""
    hits, num_positives = _checked(hits, num_positives)
    return (hits & _places_within_r(hits, num_positives)).sum(dim=1) / num_positives


def reciprocal_rank(hits: Tensor, num_positives: Tensor | None = None) -> Tensor:
    """(Q,) float64: 1 over the place of the first hit, 0 where the list ends before it, NaN without a positive."""
    hits, num_positives = _checked(hits, num_positives)
    return (hits / _places(hits)).amax(dim=1) + 0 * (num_positives / num_positives)


def inverse_negative_penalty(hits: Tensor, num_positives: Tensor | None = None) -> Tensor:
    """(Q,) float64: num_positives over the place of the last of them, which the list must hold; NaN with 0.

    Source: Ye et al. 2021 (Deep Learning for Person Re-identification), section 4.
    """
    hits, num_positives = _checked(hits, num_positives)
    found = hits.sum(dim=1)
    if (found < num_positives).any():
        query = int((found < num_positives).nonzero()[0])
        raise ValueError(
            f"query {query} has {int(num_positives[query])} positives and its list only {int(found[query])} of them; "
            "the inverse negative penalty needs the place of the last"
        )
    return num_positives / (hits * _places(hits)).amax(dim=1)


def map_at_r(hits: Tensor, num_positives: Tensor | None = None) -> float | None:
    """MAP@R: the mean of `average_precision_at_r` over queries with a positive. Source: Musgrave et al. 2020."""
    return mean_or_none(average_precision_at_r(hits, num_positives))


def r_precision(hits: Tensor, num_positives: Tensor | None = None) -> float | None:
    """R-precision: the mean of `precision_at_r` over queries with a positive."""
    return mean_or_none(precision_at_r(hits, num_positives))


def mean_reciprocal_rank(hits: Tensor, num_positives: Tensor | None = None) -> float | None:
    """MRR: the mean of `reciprocal_rank` over queries with a positive."""
    return mean_or_none(reciprocal_rank(hits, num_positives))


def minp(hits: Tensor, num_positives: Tensor | None = None) -> float | None:
    """mINP: the mean of `inverse_negative_penalty` over queries with a positive."""
    return mean_or_none(inverse_negative_penalty(hits, num_positives))


def mean_or_none(values: Tensor) -> float | None:
    """The mean without NaN; None where all values are NaN or there is none."""
    kept = values.double()
    kept = kept[~kept.isnan()]
    return float(kept.mean()) if len(kept) else None


def _as_hits(hits: Tensor) -> Tensor:
    hits = torch.as_tensor(hits)
    if hits.ndim != 2:
        raise ValueError(f"hits are {tuple(hits.shape)}; expected (Q, K)")
    return hits.bool()


def _checked(hits: Tensor, num_positives: Tensor | None) -> tuple[Tensor, Tensor]:
    hits = _as_hits(hits)
    found = hits.sum(dim=1)
    if num_positives is None:
        return hits, found.double()
    given = torch.as_tensor(num_positives, device=hits.device)
    if given.shape != found.shape:
        raise ValueError(f"num_positives are {tuple(given.shape)} for {len(hits)} queries")
    if (found > given).any():
        query = int((found > given).nonzero()[0])
        raise ValueError(f"query {query} has {int(found[query])} hits but num_positives={int(given[query])}")
    return hits, given.double()


def _precisions_at_hits(hits: Tensor) -> Tensor:
    return hits.cumsum(dim=1) / _places(hits) * hits


def _places(hits: Tensor) -> Tensor:
    return torch.arange(1, hits.shape[1] + 1, device=hits.device, dtype=torch.float64)


def _places_within_r(hits: Tensor, num_positives: Tensor) -> Tensor:
    if len(hits) and int(num_positives.max()) > hits.shape[1]:
        raise ValueError(
            f"a query has {int(num_positives.max())} positives but its list has {hits.shape[1]} places; "
            "scores at R need the first R places"
        )
    return _places(hits) <= num_positives[:, None]


def _checked_k(k: int) -> int:
    if k < 1:
        raise ValueError(f"k={k}: recall needs at least one place")
    return k
