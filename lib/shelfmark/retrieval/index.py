"""A gallery that is built once and searched often. Legend: N vectors, D embedding, Q queries, K neighbours.

Kind flat compares a query with every vector and orders the neighbours as `retrieval.search` does: by falling score,
and of equal scores the vector that was added first. The other kinds look at a part of the vectors and may miss some.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from shelfmark.core.errors import UserError, choose
from shelfmark.core.rng import numpy_generator
from shelfmark.core.strings import Strings
from shelfmark.core.types import Array
from shelfmark.retrieval import index_faiss
from shelfmark.retrieval.index_kinds import KINDS, check_room, choose_kind, parameters_for
from shelfmark.retrieval.nearest import search
from shelfmark.retrieval.vectors import METRICS, comparable

_BLOCK_ROWS = 65536
_TRAINED_PER_LIST, _FEWEST_TRAINED = 64, 65536
_DEAD_PART, _GROWTH = 0.2, 4


@dataclass(frozen=True, eq=False)
class Records:
    """What is known of N vectors. labels: (N,) int64, -1 where there is none. names: of some of the labels."""

    ids: Strings
    labels: np.ndarray
    paths: Strings
    names: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> Records:
        """Those at `rows`, in that order; names of labels that are left out go."""
        labels = self.labels[rows]
        kept = set(np.unique(labels).tolist())
        names = {label: name for label, name in self.names.items() if label in kept}
        return Records(self.ids.take(rows), labels, self.paths.take(rows), names)

    def followed_by(self, more: Records) -> Records:
        """These, then `more`. Raises UserError where the two call one label by two names."""
        for label, name in more.names.items():
            if self.names.get(label, name) != name:
                raise UserError(
                    f"label {label} is {self.names[label]!r} in the index and {name!r} in what is added."
                    " Both must be numbered by one list of classes."
                )
        return Records(
            _joined(self.ids, more.ids),
            np.concatenate([self.labels, more.labels]),
            _joined(self.paths, more.paths),
            {**self.names, **more.names},
        )


class Index:
    """Vectors in a searchable structure, row by row beside their records.

    kind, metric, dim, parameters: what it was built with. serials: (N,) ascending, each row's number in the structure.
    num_trained: how many vectors it was built of. facts: where the vectors come from, such as checkpoint_sha256.
    """

    def __init__(
        self,
        structure: index_faiss.Structure,
        records: Records,
        serials: np.ndarray,
        *,
        kind: str,
        metric: str,
        parameters: Mapping[str, int],
        num_trained: int,
        facts: Mapping[str, Any],
    ) -> None:
        self.structure, self.records, self.serials = structure, records, serials
        self.kind, self.metric, self.parameters = kind, metric, dict(parameters)
        self.num_trained, self.facts = num_trained, dict(facts)

    @classmethod
    def build(
        cls,
        vectors: np.ndarray,
        records: Records,
        *,
        kind: str = "auto",
        metric: str = "cosine",
        parameters: Mapping[str, int] | None = None,
        seed: int = 0,
        facts: Mapping[str, Any] | None = None,
    ) -> Index:
        """An index of vectors (N, D), which may be a memory map: they are read block by block.

        kind: `auto` takes `choose_kind`'s. parameters: some of the kind's, in place of the defaults, see
        `parameters_for`. seed: of the sample that the ivf kinds learn their centres from.
        """
        choose("kind", kind, ("auto", *KINDS))
        choose("metric", metric, METRICS)
        num_vectors, dim = vectors.shape
        if not num_vectors:
            raise UserError("There is nothing to build an index of: no vector was given.")
        if kind == "auto":
            kind, _ = choose_kind(num_vectors, dim)
        filled = parameters_for(kind, num_vectors, dim, parameters)
        structure = index_faiss.new_structure(kind, dim, metric, filled, seed)
        nothing = Records(Strings.of([]), np.empty(0, np.int64), Strings.of([]))
        index = cls(
            structure,
            nothing,
            np.empty(0, np.int64),
            kind=kind,
            metric=metric,
            parameters=filled,
            num_trained=num_vectors,
            facts=facts or {},
        )
        _check_new(nothing, records, num_vectors)
        if kind.startswith("ivf"):
            index_faiss.train(structure, index._ready(_sample(vectors, filled["num_lists"], seed)))
        index.add(vectors, records)
        return index

    def __len__(self) -> int:
        return len(self.records)

    @property
    def dim(self) -> int:
        return self.structure.d

    @property
    def num_dead(self) -> int:
        """Removed vectors that the structure still holds; only hnsw has some."""
        return self.structure.ntotal - len(self)

    def add(self, vectors: np.ndarray, records: Records) -> None:
        """Adds vectors (n, D) behind those that are there. Their ids must be new."""
        self._check_dim(vectors)
        _check_new(self.records, records, len(vectors))
        joined = self.records.followed_by(records)
        check_room(self.kind, self.structure.ntotal + len(records))
        if self.kind.startswith("ivf"):
            first = int(self.serials[-1]) + 1 if len(self) else 0
        else:
            first = self.structure.ntotal
        serials = first + np.arange(len(records), dtype=np.int64)
        # Every block is looked at before the first is added: a NaN in the last one must not leave half of them.
        for start in range(0, len(vectors), _BLOCK_ROWS):
            self._ready(vectors[start : start + _BLOCK_ROWS])
        for start in range(0, len(vectors), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            index_faiss.add(self.structure, self.kind, self._ready(vectors[block]), serials[block])
        self.records, self.serials = joined, np.concatenate([self.serials, serials])

    def remove(self, rows: np.ndarray) -> None:
        """Takes out the vectors at `rows` (integers or a mask). Later rows move up."""
        gone = np.zeros(len(self), bool)
        gone[rows] = True
        index_faiss.remove(self.structure, self.kind, self.serials[gone])
        self.records = self.records.take(np.flatnonzero(~gone))
        self.serials = np.arange(len(self)) if self.kind == "flat" else self.serials[~gone]

    def search(self, query: Array, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores (Q, k), best first, and int64 rows (Q, k) of the nearest vectors to query (Q, D).

        As of `retrieval.search`; where fewer than k are found, the row is -1 and the score -inf. Scores of ivf_pq are
        those of compressed vectors.
        """
        if k < 1:
            raise UserError(f"k={k}: ask for at least one neighbour.")
        self._check_dim(query)
        ready = self._ready(query)
        if self.kind == "flat":
            # The vectors are of length 1 already where the metric is cosine.
            metric = "dot" if self.metric == "cosine" else self.metric
            return search(ready, self.vectors(), k, metric=metric)
        alive = self.serials if self.num_dead else None
        scores, serials = index_faiss.search(self.structure, self.kind, ready, k, self.parameters, alive)
        rows = np.where(serials < 0, -1, np.searchsorted(self.serials, serials))
        order = np.lexsort((np.where(rows < 0, len(self), rows), -scores))
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)

    def vectors(self) -> np.ndarray:
        """(N, D) float32, as they are compared: of length 1 for cosine. Of ivf_pq, what the compression left."""
        return index_faiss.stored_vectors(self.structure, self.kind, self.serials)

    def hints(self) -> list[str]:
        """What would make the index better, if anything: a sentence each."""
        found = []
        if self.num_dead > _DEAD_PART * self.structure.ntotal:
            found.append(
                f"{self.num_dead:,} of {self.structure.ntotal:,} vectors are removed ones, which hnsw only passes over;"
                " build the index again to be rid of them"
            )
        if self.kind.startswith("ivf") and len(self) > _GROWTH * self.num_trained:
            found.append(
                f"the lists were laid out for {self.num_trained:,} vectors and hold {len(self):,};"
                " build the index again for as quick an answer as before"
            )
        return found

    def _check_dim(self, vectors: Array) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise UserError(
                f"vectors are {tuple(vectors.shape)}; the index holds vectors of {self.dim} dimensions."
                " Both must come from the same checkpoint."
            )

    def _ready(self, vectors: Array) -> np.ndarray:
        if isinstance(vectors, np.ndarray):
            # A block of a memory map is copied: it may be read-only, and float64 is not what faiss takes.
            vectors = np.array(vectors, dtype=np.float32)
        ready, _ = comparable(vectors, vectors, self.metric)
        return np.ascontiguousarray(ready.cpu().to(torch.float32).numpy())


def _check_new(present: Records, records: Records, num_vectors: int) -> None:
    if not len(records.ids) == len(records.labels) == len(records.paths) == num_vectors:
        raise UserError(
            f"{num_vectors} vectors, {len(records.ids)} ids, {len(records.labels)} labels and {len(records.paths)}"
            " paths; each vector needs one of each."
        )
    known = set(present.ids)
    for one in records.ids:
        if one in known:
            raise UserError(f"the image id {one!r} is there already; ids in an index are unique. Remove it first.")
        known.add(one)


def _sample(vectors: np.ndarray, num_lists: int, seed: int) -> np.ndarray:
    size = max(_TRAINED_PER_LIST * num_lists, _FEWEST_TRAINED)
    if len(vectors) <= size:
        return vectors
    drawn = numpy_generator(seed, "index_sample").choice(len(vectors), size, replace=False)
    return vectors[np.sort(drawn)]


def _joined(first: Strings, second: Strings) -> Strings:
    offsets = np.concatenate([first.offsets, second.offsets[1:] + first.offsets[-1]])
    return Strings(np.concatenate([first.data, second.data]), offsets)
