"""Whether an index still holds what it says, and finds what it should. Legend: N vectors, n rows of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shelfmark.retrieval.index import Index
from shelfmark.retrieval.recall import NUM_QUERIES, ExactSample, Recall, drawn, exact_sample
from shelfmark.retrieval.vectors import comparable

_SHOWN = 5


@dataclass(frozen=True)
class IdCheck:
    """num_missing: rows of the table whose vector is not in the structure. missing: the image ids of some of them.

    num_unknown: vectors in the structure that no row has, beside those that were removed and take room.
    """

    num_missing: int
    num_unknown: int
    missing: tuple[str, ...] = ()

    @property
    def is_right(self) -> bool:
        return not self.num_missing and not self.num_unknown


@dataclass(frozen=True)
class RecallCheck:
    """The recall now: by all rows as queries, by those that came with the build, by later ones, and by given queries.
    None: there are none, or too many are equally near to say."""

    overall: Recall | None
    built: Recall | None
    later: Recall | None
    queries: Recall | None = None

    @property
    def each(self) -> dict[str, Recall]:
        """Those that there are, by whose they are."""
        named = {"all": self.overall, "built": self.built, "later": self.later, "given": self.queries}
        return {name: one for name, one in named.items() if one is not None}


def check_ids(index: Index) -> IdCheck:
    """Compares the ids in the structure with those in the table."""
    known, held = index.store.ids, index.store.held_ids()
    missing = np.flatnonzero(~np.isin(known, held))
    num_others = int((~np.isin(held, known)).sum())
    # An index of an earlier version does not say how many nodes of its graph were removed.
    removed = index.store.num_dead if index.num_removed is None else index.num_removed
    some = tuple(index.records.ids[int(row)] for row in missing[:_SHOWN])
    return IdCheck(len(missing), max(0, num_others - max(0, removed)), some)


def check_recall(index: Index, num_queries: int = NUM_QUERIES, seed: int = 0) -> RecallCheck:
    """Asks for the neighbours of at most `num_queries` rows of each age, drawn by the seed; see `check_ids` first.

    A row's own vector is its query and is no answer; of ivf_pq it is the vector after compression. Every vector is
    read twice, in blocks.
    """
    num_built, num_later = index.num_built, len(index) - index.num_built
    built = drawn(num_built, num_queries, seed, "index_check_built")
    later = num_built + drawn(num_later, num_queries, seed, "index_check_later")
    sample = sample_of_rows(index, np.concatenate([built, later]))
    if sample is None:
        return RecallCheck(None, None, None)
    is_built = np.isin(sample.ids, index.store.ids[built])
    found = [_recall(index, sample.part(of_age)) for of_age in (is_built, ~is_built)]
    return RecallCheck(_joined(found, (num_built, num_later)), *found)


def recall_of_queries(index: Index, ids: Sequence[str], query: np.ndarray, seed: int = 0) -> Recall | None:
    """The recall by at most NUM_QUERIES of the vectors query (Q, D), as a model gives them, drawn by the seed.

    ids: (Q,) their image ids; an image of the index is not its own answer.
    """
    chosen = drawn(len(query), NUM_QUERIES, seed, "index_check_queries")
    rows = {one: row for row, one in enumerate(index.records.ids)}
    found = [rows.get(ids[int(one)]) for one in chosen]
    own = np.array([-1 if row is None else index.store.ids[row] for row in found], dtype=np.int64)
    ready, _ = comparable(query[chosen], query[:0], index.layout.metric)
    sample = exact_sample(own, ready.numpy(), index.store.blocks(), index.layout.metric)
    return None if sample is None else _recall(index, sample)


def sample_of_rows(index: Index, rows: np.ndarray) -> ExactSample | None:
    """The rows (n,), in rising order, as queries, with what is nearest to each."""
    ids = index.store.ids[rows]
    vectors = np.empty((len(ids), index.dim), np.float32)
    for block_ids, block in index.store.blocks():
        is_asked = np.isin(block_ids, ids)
        vectors[np.searchsorted(ids, block_ids[is_asked])] = block[is_asked]
    return exact_sample(ids, vectors, index.store.blocks(), index.layout.metric)


def _recall(index: Index, sample: ExactSample) -> Recall | None:
    return sample.recall_of(index.store.search) if len(sample) else None


def _joined(found: list[Recall | None], sizes: tuple[int, int]) -> Recall | None:
    """The recall of all rows, by that of each age and the number of its rows."""
    there = [(one, size) for one, size in zip(found, sizes) if one is not None]
    total = sum(size for _, size in there)
    if not total:
        return None
    value = sum(size / total * one.value for one, size in there)
    error = sum((size / total * one.error) ** 2 for one, size in there) ** 0.5
    return Recall(value, error, sum(one.num_queries for one, _ in there))
