"""How many of the nearest vectors a search finds, by exact search of a sample.

Legend: N vectors, n rows of them, D embedding, Q queries, K neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from shelfmark.core.rng import numpy_generator
from shelfmark.retrieval.nearest import search
from shelfmark.retrieval.neighbours import Neighbours

PLACES = 10
"""The K of every recall here: the part that is found of the 10 nearest."""
NUM_QUERIES = 1000

_WIDTH = 4 * PLACES
# Of scores that are equal but for the last digits of float32.
_TIE = 1e-6


@dataclass(frozen=True)
class Recall:
    """value: the part of the exact neighbours that a search finds. error: the standard error of it, by queries."""

    value: float
    error: float
    num_queries: int

    @property
    def lower(self) -> float:
        """The lower end of its 95% interval."""
        return self.value - 2 * self.error

    @property
    def upper(self) -> float:
        """The upper end of its 95% interval."""
        return self.value + 2 * self.error


@dataclass(frozen=True, eq=False)
class ExactSample:
    """Queries out of a gallery, each with what is nearest to it among all others.

    ids: (Q,) of the queries in the gallery. vectors: (Q, D). nearest: (Q, W) ids. counts: (Q, W), whether it is among
    the K nearest, or as near as the last of these: which of several equal ones a search gives is no fault of it.
    """

    ids: np.ndarray
    vectors: np.ndarray
    nearest: np.ndarray
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, chosen: np.ndarray) -> ExactSample:
        """The queries of a mask (Q,)."""
        return ExactSample(self.ids[chosen], self.vectors[chosen], self.nearest[chosen], self.counts[chosen])

    def recall_of(self, search: Callable[[np.ndarray, int], Neighbours[np.ndarray]]) -> Recall:
        """The recall of a search (queries, k) -> neighbours with ids of the gallery, which may find a query itself."""
        found = _others(search(self.vectors, PLACES + 1).ids, self.ids)[:, :PLACES]
        hits = ((found[:, :, None] == self.nearest[:, None, :]) & self.counts[:, None, :]).sum(axis=(1, 2))
        parts = hits / np.minimum(self.counts.sum(axis=1), PLACES)
        return Recall(float(parts.mean()), float(parts.std() / len(parts) ** 0.5), len(parts))


def exact_sample(
    ids: np.ndarray, vectors: np.ndarray, gallery: Iterable[tuple[np.ndarray, np.ndarray]], metric: str
) -> ExactSample | None:
    """The sample of the queries (Q,) with vectors (Q, D) in a gallery of blocks: ids (n,) and vectors (n, D).

    All vectors are as a store has them: of length 1 for cosine. A query without others, or with so many equally near
    ones that no list of ten is right, is left out. None: no query is left.
    """
    metric = "dot" if metric == "cosine" else metric
    scores = np.full((len(ids), _WIDTH), -np.inf, np.float32)
    nearest = np.full((len(ids), _WIDTH), -1, np.int64)
    for block_ids, block in gallery:
        more, rows = search(vectors, block, _WIDTH + 1, metric=metric)
        more_ids = np.where(rows < 0, -1, block_ids[rows])
        is_own = more_ids == ids[:, None]
        joined = np.concatenate([scores, np.where(is_own, -np.inf, more)], axis=1)
        joined_ids = np.concatenate([nearest, np.where(is_own, -1, more_ids)], axis=1)
        order = np.argsort(-joined, axis=1, kind="stable")[:, :_WIDTH]
        scores, nearest = np.take_along_axis(joined, order, axis=1), np.take_along_axis(joined_ids, order, axis=1)
    last = scores[:, PLACES - 1, None]
    # With fewer others than places the last of them is -inf, and all count.
    slack = _TIE * np.maximum(1, np.abs(np.where(np.isfinite(last), last, 1)))
    counts = (nearest >= 0) & (scores >= last - slack)
    kept = counts.any(axis=1) & ~counts[:, -1]
    return ExactSample(ids, vectors, nearest, counts).part(kept) if kept.any() else None


def drawn(number: int, most: int, seed: int, purpose: str) -> np.ndarray:
    """At most `most` of the numbers 0 to `number` - 1, drawn by the seed, in rising order."""
    if number <= most:
        return np.arange(number)
    return np.sort(numpy_generator(seed, purpose).choice(number, most, replace=False))


def _others(found: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The found ids (Q, K) without the query's own, which goes to the end as -1; the others keep their order."""
    is_own = found == own[:, None]
    order = np.argsort(is_own, axis=1, kind="stable")
    return np.take_along_axis(np.where(is_own, -1, found), order, axis=1)
