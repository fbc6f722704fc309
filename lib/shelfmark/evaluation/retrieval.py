"""Scores of a search, exact over the whole ranking. Legend: Q queries, G gallery, R positives, C classes, D embedding.

One pass: a block of queries is compared with the whole gallery, the ranks of its positives are found, and every score
is read from them. Neither Q x G nor Q x R values are ever held. On a CPU a set with few images a class takes half the
products in its search for itself: `mutual_ranks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.core.types import Array, Counts
from shelfmark.ops.bootstrap import Interval, mean_intervals
from shelfmark.ops.class_metrics import Scores, group_accuracies
from shelfmark.ops.positive_ranks import PositiveRanks, positive_ranks
from shelfmark.ops.rank_metrics import mean_or_none
from shelfmark.retrieval.exact import products, squared_norms
from shelfmark.retrieval.mutual.ranks import mutual_ranks
from shelfmark.retrieval.query_gallery import QueryGallery, RowsByKey
from shelfmark.retrieval.vectors import Ids, comparable

# Scores in a block: 32 MB on a CPU; a GPU needs blocks of 512 MB to be busy.
_BLOCK_SCORES = {"cpu": 1 << 23, "cuda": 1 << 27}
# Up to this many positives, counting the items ahead of each is quicker than sorting the row.
_MUTUAL_POSITIVES = 32

_OF_RANKS: dict[str, Callable[[PositiveRanks], Tensor]] = {
    "map": PositiveRanks.average_precision,
    "map@r": PositiveRanks.average_precision_at_r,
    "r_precision": PositiveRanks.precision_at_r,
    "mrr": lambda ranks: 1 / ranks.first_rank(),
    "minp": PositiveRanks.inverse_negative_penalty,
}


def scores(
    features: Array,
    labels: Array,
    ks: Iterable[int],
    gallery: Array | None = None,
    gallery_labels: Array | None = None,
    metric: str = "cosine",
    query_ids: Ids | None = None,
    gallery_ids: Ids | None = None,
) -> Scores:
    """Fractions: recall@K, cmc@K, precision@K and map@K for each of ks, map, map@r, r_precision, mrr, minp.

    None where no query has a positive. Also mean_class_recall@1; num_queries, the scored queries, which have a
    positive; num_queries_without_positive, which are left out; and num_gallery. cmc@K is the name of recall@K in
    re-identification. Formulas, ties and denominators: docs/definitions.md.

    features: (Q, D) queries with labels (Q,). Without a gallery each query is searched among all others. A query is
    excluded from its own list by its id (without ids and gallery: its row), so its exact duplicates stay. An image
    labelled -1 is no query and no positive, but stays in the gallery. metric: cosine, euclidean or dot. Computed on
    the features' device, a block of scores in memory at a time.
    """
    ks = list(ks)
    sides = QueryGallery.of(features, labels, gallery, gallery_labels, query_ids, gallery_ids)
    found = search_scores(sides, ks, metric).means()
    return found | {f"cmc@{k}": found[f"recall@{k}"] for k in ks}


@dataclass(frozen=True)
class SearchScores:
    """The scores of each query.

    labels: (Q,) int64. first_rank: (Q,) float64 rank of the best positive. values: (Q,) float64 by name. All NaN for
    a query without a positive. at_k: means of precision@K and map@K.
    """

    ks: tuple[int, ...]
    labels: np.ndarray
    first_rank: np.ndarray
    values: Mapping[str, np.ndarray]
    at_k: Mapping[str, float | None]
    num_gallery: int

    @property
    def is_scored(self) -> np.ndarray:
        """(Q,) bool: the query has a positive."""
        return ~np.isnan(self.first_rank)

    def means(self) -> Scores:
        """The scores of `scores`, without cmc@K."""
        scored = self.is_scored
        first_rank = torch.from_numpy(self.first_rank[scored])
        return {
            **{f"recall@{k}": mean_or_none(first_rank <= k) for k in self.ks},
            **{name: mean_or_none(torch.from_numpy(values)) for name, values in self.values.items()},
            **self.at_k,
            "mean_class_recall@1": mean_or_none(torch.from_numpy(self.per_class()[2])),
            "num_queries": int(scored.sum()),
            "num_queries_without_positive": int((~scored).sum()),
            "num_gallery": self.num_gallery,
        }

    def intervals(self, seed: int = 0, resamples: int = 1000) -> dict[str, Interval]:
        """95% intervals of recall@K, map, map@r, r_precision, mrr and minp over resamples of the scored queries."""
        scored = self.is_scored
        columns = {f"recall@{k}": self.first_rank <= k for k in self.ks} | dict(self.values)
        found = mean_intervals(np.stack([column[scored] for column in columns.values()], axis=1), resamples, seed=seed)
        return dict(zip(columns, found))

    def per_class(self, values: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each class with a scored query, by rising label: the label, the number of scored queries, the mean value.

        values: (Q,), by default whether the first place is a hit, so that the mean is Recall@1.
        """
        scored = self.is_scored
        values = self.first_rank <= 1 if values is None else values
        classes, index, count = np.unique(self.labels[scored], return_inverse=True, return_counts=True)
        return classes, count, np.bincount(index, weights=values[scored], minlength=len(classes)) / count

    def shot_groups(self, train_counts: Counts, many: int = 100, few: int = 20) -> Scores:
        """recall@1_many, _medium and _few: mean Recall@1 of the classes with many, medium or few training images.

        train_counts: (C,) training images of each class, by label.
        """
        counts = np.asarray(train_counts)
        classes, _, recalls = self.per_class()
        if len(classes) and classes[-1] >= len(counts):
            raise UserError(
                f"label {classes[-1]} of the evaluated images is outside the {len(counts)} classes with training "
                "counts. Groups by training images need queries of the trained classes."
            )
        found = group_accuracies(torch.from_numpy(recalls), counts[classes], many, few)
        return {f"recall@1_{name}": value for name, value in found.items()}


def search_scores(sides: QueryGallery, ks: Iterable[int], metric: str = "cosine") -> SearchScores:
    """As `scores`, but for each query, from one pass: means, intervals, classes and groups follow from it."""
    ks = tuple(dict.fromkeys(ks))
    if not ks or min(ks) < 1:
        raise UserError(f"ks={list(ks)}: Recall@K needs at least one K, each at least 1.")
    query, gallery = comparable(sides.query, sides.gallery, metric)
    first_rank = np.full(len(query), np.nan)
    values = {name: np.full(len(query), np.nan) for name in _OF_RANKS}
    sums = {f"{name}@{k}": 0.0 for name in ("precision", "map") for k in ks}
    for rows, ranks in _ranks(query, gallery.to(query.device), sides, metric):
        first_rank[rows] = ranks.first_rank().cpu()
        for name, of_ranks in _OF_RANKS.items():
            values[name][rows] = of_ranks(ranks).cpu()
        for k in ks:
            sums[f"precision@{k}"] += float(ranks.precision_at_k(k).nansum())
            sums[f"map@{k}"] += float(ranks.average_precision_at_k(k).nansum())
    num_scored = int((~np.isnan(first_rank)).sum())
    at_k = {name: total / num_scored if num_scored else None for name, total in sums.items()}
    return SearchScores(ks, sides.query_labels, first_rank, values, at_k, len(gallery))


def block_ranks(
    sides: QueryGallery, num_same: np.ndarray, block: int, scores_of: Callable[[np.ndarray], Tensor]
) -> Iterator[tuple[np.ndarray, PositiveRanks]]:
    """Query rows (n,) and the ranks of their positives, in blocks, of the queries whose num_same (Q,) is above 0.

    num_same: gallery items of the query's class, the query included. scores_of: rows (n,) -> scores (n, G), which are
    overwritten.
    """
    same_label, same_id = RowsByKey(sides.gallery_labels), RowsByKey(sides.gallery_ids)
    # Queries with similar numbers of positives stand together, so that the padding stays small.
    wanted = np.argsort(num_same, kind="stable")
    wanted = wanted[num_same[wanted] > 0]
    for rows in (wanted[start : start + block] for start in range(0, len(wanted), block)):
        block_scores = scores_of(rows)
        own = same_id.rows(sides.query_ids[rows])
        places, columns = np.nonzero(own >= 0)
        block_scores[torch.from_numpy(places), torch.from_numpy(own[places, columns])] = -torch.inf
        positives = same_label.rows(sides.query_labels[rows])
        positives[sides.gallery_ids[positives] == sides.query_ids[rows, None]] = -1
        yield rows, positive_ranks(block_scores, torch.from_numpy(positives).to(block_scores.device))


def _ranks(
    query: Tensor, gallery: Tensor, sides: QueryGallery, metric: str
) -> Iterator[tuple[np.ndarray, PositiveRanks]]:
    """Query rows (n,) and the ranks of their positives, in blocks; queries without a positive may be among them."""
    num_same = sides.class_sizes()
    same_id = RowsByKey(sides.gallery_ids)
    if sides.is_same_set and query.device.type == "cpu" and same_id.count(sides.query_ids).max(initial=1) == 1:
        yield from mutual_ranks(query, sides.query_labels, _MUTUAL_POSITIVES, metric)
        num_same[num_same <= 1 + _MUTUAL_POSITIVES] = 0
    block = max(1, _BLOCK_SCORES["cpu" if query.device.type == "cpu" else "cuda"] // max(1, len(gallery)))
    squares = squared_norms(gallery) if metric == "euclidean" else None
    memory = query.new_empty(min(block, int((num_same > 0).sum())), len(gallery))

    def scores_of(rows: np.ndarray) -> Tensor:
        chosen = query[torch.from_numpy(rows).to(query.device)]
        return products(chosen, gallery, metric, squares, memory[: len(rows)])

    yield from block_ranks(sides, num_same, block, scores_of)
