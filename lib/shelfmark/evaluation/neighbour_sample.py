"""The neighbours of some queries in a whole gallery. Legend: n queries, G gallery, D embedding, K neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.rng import numpy_generator
from shelfmark.retrieval.query_gallery import QueryGallery
from shelfmark.retrieval.vectors import comparable

_BLOCK_ROWS = 2048


@dataclass(frozen=True, eq=False)
class NeighbourSample:
    """Of n queries, each with a positive in the gallery:

    queries: (n,) int64 rows of the queries. nearest: (n, K) int64 gallery rows, the most similar first, -1 for none.
    similarity: (n, K). hits: (n, K) bool, whether it is a positive. positive, negative: (n,) similarity of the best
    positive and of the hardest negative. total: the queries of which n were drawn.
    """

    queries: np.ndarray
    nearest: np.ndarray
    similarity: np.ndarray
    hits: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    total: int

    @property
    def margin(self) -> np.ndarray:
        """(n,) how much nearer the best positive is than the hardest negative."""
        return self.positive - self.negative

    def recall_at(self, k: int) -> np.ndarray:
        """(n,) bool: a positive is among the first k, k at most K."""
        return np.asarray(self.hits[:, :k].any(axis=1))


def neighbour_sample(
    sides: QueryGallery,
    most: int = 2000,
    k: int = 20,
    metric: str = "cosine",
    seed: int = 0,
    after_block: Callable[[], None] = lambda: None,
) -> NeighbourSample:
    """The neighbours of at most `most` queries, drawn by the seed. A block of the gallery is compared at a time.

    A query does not find itself (an equal id), nor is it one without a label. Those without a positive are left out.
    after_block: called when a block was compared, to give back memory.
    """
    eligible = np.flatnonzero(sides.query_labels >= 0)
    drawn = eligible
    if len(eligible) > most:
        drawn = np.sort(numpy_generator(seed, "neighbour_sample").choice(eligible, most, replace=False))
    labels, ids = sides.query_labels[drawn], sides.query_ids[drawn]
    queries = sides.query[drawn]
    after_block()
    best = _Best.none(len(drawn), min(k, len(sides.gallery)))
    for start in range(0, len(sides.gallery), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        query, gallery = comparable(queries, sides.gallery[rows], metric)
        is_positive = torch.from_numpy(labels[:, None] == sides.gallery_labels[None, rows])
        is_own = torch.from_numpy(ids[:, None] == sides.gallery_ids[None, rows])
        best.add(_similarity(query, gallery, metric).masked_fill(is_own, -torch.inf), is_positive, start)
        after_block()
    has_positive = torch.isfinite(best.positive).numpy()
    nearest = torch.where(torch.isfinite(best.values), best.rows, -1).numpy()[has_positive]
    hits = (sides.gallery_labels[nearest] == labels[has_positive, None]) & (nearest >= 0)
    return NeighbourSample(
        drawn[has_positive],
        nearest,
        best.values.numpy()[has_positive],
        hits,
        best.positive.numpy()[has_positive],
        best.negative.numpy()[has_positive],
        len(eligible),
    )


@dataclass
class _Best:
    """What was found in the blocks so far. values, rows: (n, K). positive, negative: (n,)."""

    values: Tensor
    rows: Tensor
    positive: Tensor
    negative: Tensor

    @classmethod
    def none(cls, num_queries: int, k: int) -> _Best:
        none = torch.full((num_queries,), -torch.inf)
        return cls(none[:, None].repeat(1, k), torch.full((num_queries, k), -1), none.clone(), none.clone())

    def add(self, scores: Tensor, is_positive: Tensor, start: int) -> None:
        """scores: (n, g) with the gallery's rows from `start` on."""
        k = self.values.shape[1]
        found, places = scores.topk(min(k, scores.shape[1]), dim=1)
        values, order = torch.cat([self.values, found], dim=1).topk(k, dim=1)
        self.values, self.rows = values, torch.cat([self.rows, places + start], dim=1).gather(1, order)
        self.positive = self.positive.maximum(scores.masked_fill(~is_positive, -torch.inf).amax(dim=1))
        self.negative = self.negative.maximum(scores.masked_fill(is_positive, -torch.inf).amax(dim=1))


def _similarity(query: Tensor, gallery: Tensor, metric: str) -> Tensor:
    return -torch.cdist(query, gallery) if metric == "euclidean" else query @ gallery.T
