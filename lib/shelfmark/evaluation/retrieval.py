"""Scores of a search, exact over the whole ranking. Legend: Q queries, G gallery, R positives, D embedding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.ops.rank_metrics import mean_or_none, positive_ranks, scores_of_ranks
from shelfmark.retrieval.exact import products
from shelfmark.retrieval.vectors import Array, Ids, comparable, id_codes

_BLOCK_SCORES = 1 << 24  # 64 MB of float32 scores at a time, and as much again for their sort

_MEANS = {"map": "average_precision", "map@r": "average_precision_at_r", "r_precision": "precision_at_r"}


def scores(
    features: Array,
    labels: Array,
    ks: Iterable[int],
    gallery: Array | None = None,
    gallery_labels: Array | None = None,
    metric: str = "cosine",
    query_ids: Ids | None = None,
    gallery_ids: Ids | None = None,
) -> dict[str, float | None]:
    """recall@K for each of ks, map, map@r and r_precision, as fractions; None where no query has a positive.

    Also num_queries, which have a positive and were scored, num_queries_without_positive, which were left
    out, and num_gallery. Formulas, ties and denominators: docs/definitions.md.

    features: (Q, D) queries with labels (Q,). Without a gallery each is searched among all the others. A
    query is excluded from its own list by its id (without ids and gallery: its row), so exact duplicates of
    it stay. A label of -1 is no query and no one's positive, but stays in the gallery. metric: cosine,
    euclidean or dot. Computed on the features' device, a block of scores in memory at a time.
    """
    ks = list(ks)
    if not ks or min(ks) < 1:
        raise UserError(f"ks={ks}: Recall@K needs at least one K, each at least 1.")
    sides = _sides(features, labels, gallery, gallery_labels, query_ids, gallery_ids)
    query_vectors, gallery_vectors = comparable(features, features if gallery is None else gallery, metric)
    found = {
        name: torch.full((len(features),), torch.nan, dtype=torch.float64) for name in ("first_rank", *_MEANS.values())
    }
    for rows, ranks in _ranks(query_vectors, gallery_vectors.to(query_vectors.device), sides, metric):
        for name, values in scores_of_ranks(ranks).items():
            found[name][rows] = values.cpu()
    first_rank = found["first_rank"][~found["first_rank"].isnan()]
    num_scored = len(first_rank)
    return {
        **{f"recall@{k}": mean_or_none(first_rank <= k) for k in ks},
        **{name: mean_or_none(found[values]) for name, values in _MEANS.items()},
        "num_queries": num_scored,
        "num_queries_without_positive": len(features) - num_scored,
        "num_gallery": len(gallery_vectors),
    }


@dataclass(frozen=True)
class _Sides:
    """Labels and ids (as numbers) of both sides, int64; equal ids, equal numbers."""

    query_labels: np.ndarray
    gallery_labels: np.ndarray
    query_ids: np.ndarray
    gallery_ids: np.ndarray


def _sides(
    features: Array,
    labels: Array,
    gallery: Array | None,
    gallery_labels: Array | None,
    query_ids: Ids | None,
    gallery_ids: Ids | None,
) -> _Sides:
    if gallery is None:
        if gallery_labels is not None or gallery_ids is not None:
            raise UserError("gallery_labels and gallery_ids describe a gallery; give the gallery too.")
        gallery, gallery_labels = features, labels
        query_ids = gallery_ids = np.arange(len(features)) if query_ids is None else query_ids
    if gallery_labels is None:
        raise UserError("The gallery's vectors have no labels; give gallery_labels with gallery.")
    if query_ids is None and gallery_ids is None:
        query_ids, gallery_ids = np.arange(len(features)), np.arange(len(gallery)) + len(features)
    if query_ids is None or gallery_ids is None:
        raise UserError("Give query_ids and gallery_ids, or neither: a query is known in the gallery by its id.")
    return _Sides(
        _labels(labels, len(features), "query"),
        _labels(gallery_labels, len(gallery), "gallery"),
        *id_codes(query_ids, gallery_ids, len(features), len(gallery)),
    )


def _labels(labels: Array, num_vectors: int, name: str) -> np.ndarray:
    array = torch.as_tensor(labels).cpu().numpy()
    if array.shape != (num_vectors,):
        raise UserError(f"{name} labels are {array.shape} for {num_vectors} {name} vectors; each needs one label.")
    return array.astype(np.int64)


def _ranks(query: Tensor, gallery: Tensor, sides: _Sides, metric: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of query rows (q,) and the ranks (q, R) of their positives; queries whose class is absent never come."""
    same_label, same_id = _RowsByKey(sides.gallery_labels), _RowsByKey(sides.gallery_ids)
    num_same = np.where(sides.query_labels < 0, 0, same_label.count(sides.query_labels))
    # Queries with like numbers of positives stand together, so that the padding stays small.
    wanted = np.argsort(num_same, kind="stable")
    wanted = wanted[num_same[wanted] > 0]
    block = max(1, _BLOCK_SCORES // max(1, len(gallery)))
    for rows in (wanted[start : start + block] for start in range(0, len(wanted), block)):
        index = torch.from_numpy(rows)
        block_scores = products(query[index.to(query.device)], gallery, metric)
        own = same_id.rows(sides.query_ids[rows])
        places, columns = np.nonzero(own >= 0)
        block_scores[torch.from_numpy(places), torch.from_numpy(own[places, columns])] = -torch.inf
        positives = same_label.rows(sides.query_labels[rows])
        positives[sides.gallery_ids[positives] == sides.query_ids[rows, None]] = -1
        yield index, positive_ranks(block_scores, torch.from_numpy(positives).to(query.device))


class _RowsByKey:
    """The rows that hold a key, for many keys at once."""

    def __init__(self, keys: np.ndarray) -> None:
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    def count(self, keys: np.ndarray) -> np.ndarray:
        """(n,) how many rows hold each key."""
        return np.searchsorted(self._sorted, keys, side="right") - np.searchsorted(self._sorted, keys)

    def rows(self, keys: np.ndarray) -> np.ndarray:
        """(n, most rows of one key) int64 rows in rising order, padded with -1."""
        counts = self.count(keys)
        steps = np.arange(counts.max(initial=0))
        places = np.searchsorted(self._sorted, keys)[:, None] + steps
        return np.where(steps < counts[:, None], self._order[np.minimum(places, len(self._order) - 1)], -1)
