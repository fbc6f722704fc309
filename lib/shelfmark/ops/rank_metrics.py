"""Scores of ranked lists. Legend: Q queries, K places of a list, R positives of a query, G gallery.

Denominators, ties and the rule about the query itself: docs/definitions.md.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

_TIED_AT_A_TIME = 64


def recall_at_k(hits: Tensor, ks: Iterable[int], num_positives: Tensor | None = None) -> dict[int, float | None]:
    """For each k the share of queries with a hit among the first k places; None where no query has a positive.

    hits: (Q, K) bool, best first; a list shorter than k counts as it is. num_positives: (Q,) relevant
    gallery items without the query itself; queries with 0 are left out, without the argument none is.
    """
    hits = _as_hits(hits)
    if num_positives is not None:
        hits = hits[torch.as_tensor(num_positives) > 0]
    return {k: mean_or_none(hits[:, : _checked_k(k)].any(dim=1)) for k in ks}


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


def precision_at_r(hits: Tensor, num_positives: Tensor | None = None) -> Tensor:
    """(Q,) float64 share of hits among the first R places, R being the query's own num_positives."""
    hits, num_positives = _checked(hits, num_positives)
    return (hits & _places_within_r(hits, num_positives)).sum(dim=1) / num_positives


def map_at_r(hits: Tensor, num_positives: Tensor | None = None) -> float | None:
    """MAP@R: the mean of `average_precision_at_r` over queries with a positive. Source: Musgrave et al. 2020."""
    return mean_or_none(average_precision_at_r(hits, num_positives))


def r_precision(hits: Tensor, num_positives: Tensor | None = None) -> float | None:
    """R-precision: the mean of `precision_at_r` over queries with a positive."""
    return mean_or_none(precision_at_r(hits, num_positives))


def mean_or_none(values: Tensor) -> float | None:
    """The mean of what is not NaN; None where nothing is left."""
    kept = values.double()
    kept = kept[~kept.isnan()]
    return float(kept.mean()) if len(kept) else None


def positive_ranks(scores: Tensor, positives: Tensor) -> Tensor:
    """(Q, R) float64 ranks of the positives, from 1, rising; inf where a query has fewer than R.

    scores: (Q, G), without NaN; -inf puts an item behind all others. positives: (Q, R) gallery rows, -1 for none.
    An item's rank is 1 + the items with a greater score + the items with the same score and a lower row.
    One sort of a row's values gives the ranks of all its positives; a row with ties takes a stable sort as well.
    """
    missing = positives < 0
    own = scores.gather(1, positives.clamp_min(0))
    ordered = _sorted_rows(scores)
    up_to = torch.searchsorted(ordered, own, right=True)
    ranks = 1 + scores.shape[1] - up_to
    # Beneath an item's own value stands the same value again where another item ties with it.
    has_tie = (up_to > 1) & (ordered.gather(1, (up_to - 2).clamp_min(0)) == own) & ~missing
    for queries in has_tie.any(dim=1).nonzero()[:, 0].split(_TIED_AT_A_TIME):
        ranks[queries] = 1 + _places(scores[queries]).gather(1, positives[queries].clamp_min(0))
    return ranks.double().masked_fill(missing, torch.inf).sort(dim=1).values


def scores_of_ranks(ranks: Tensor) -> dict[str, Tensor]:
    """(Q,) float64 per query: first_rank, average_precision, average_precision_at_r, precision_at_r.

    ranks: (Q, R) of all positives in the whole gallery, as from `positive_ranks`. NaN without a positive.
    """
    num_positives = ranks.isfinite().sum(dim=1).double()
    # The i-th positive stands at rank r, so the precision there is i / r; it is 0 where r is inf.
    precisions = torch.arange(1, ranks.shape[1] + 1, device=ranks.device) / ranks
    within = ranks <= num_positives[:, None]
    return {
        "first_rank": ranks[:, 0].masked_fill(num_positives == 0, torch.nan),
        "average_precision": precisions.sum(dim=1) / num_positives,
        "average_precision_at_r": (precisions * within).sum(dim=1) / num_positives,
        "precision_at_r": within.sum(dim=1) / num_positives,
    }


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
    places = torch.arange(1, hits.shape[1] + 1, device=hits.device, dtype=torch.float64)
    return hits.cumsum(dim=1) / places * hits


def _places_within_r(hits: Tensor, num_positives: Tensor) -> Tensor:
    if len(hits) and int(num_positives.max()) > hits.shape[1]:
        raise ValueError(
            f"a query has {int(num_positives.max())} positives but its list has {hits.shape[1]} places; "
            "scores at R need the first R places"
        )
    return torch.arange(1, hits.shape[1] + 1, device=hits.device) <= num_positives[:, None]


def _sorted_rows(scores: Tensor) -> Tensor:
    if scores.device.type == "cpu":
        # torch also carries the indices, which takes five times as long and twelve bytes an item.
        return torch.from_numpy(np.sort(scores.numpy(), axis=1))
    return scores.sort(dim=1).values


def _places(scores: Tensor) -> Tensor:
    """(Q, G) the place of each item in its row's stable order, from 0."""
    # Adding 0.0 turns -0.0 into 0.0, which a radix sort would tell apart.
    order = (scores + 0.0).sort(dim=1, descending=True, stable=True).indices
    places = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def _checked_k(k: int) -> int:
    if k < 1:
        raise ValueError(f"k={k}: recall needs at least one place")
    return k
