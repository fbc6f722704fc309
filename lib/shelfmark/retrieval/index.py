"""A gallery that is built once and searched often. Legend: N vectors, D embedding, Q queries, K neighbours.

Neighbours come as from `retrieval.search`: by falling score, and of equal scores the vector that was added first. Kind
flat compares a query with every vector; the other kinds look at a part of the vectors and may miss some.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from shelfmark.core.errors import UserError, choose
from shelfmark.core.rng import numpy_generator
from shelfmark.core.strings import Strings
from shelfmark.core.types import Array
from shelfmark.core.wording import counted
from shelfmark.retrieval.index_kinds import KINDS, check_room, choose_kind, parameters_for
from shelfmark.retrieval.neighbours import Neighbours
from shelfmark.retrieval.stores import IvfStore, Layout, VectorStore, new_store
from shelfmark.retrieval.vectors import METRICS, comparable

_BLOCK_ROWS, _SHOWN = 65536, 3
_TRAINED_PER_LIST, _FEWEST_TRAINED = 64, 65536


@dataclass(frozen=True, eq=False)
class Records:
    """The labels, ids and paths of N vectors. labels: (N,) int64, -1 for none. names: label -> name, of some labels."""

    ids: Strings
    labels: np.ndarray
    paths: Strings
    names: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> Records:
        """The records at `rows`, in that order, with the names of their labels alone."""
        labels = self.labels[rows]
        kept = set(np.unique(labels).tolist())
        names = {label: name for label, name in self.names.items() if label in kept}
        return Records(self.ids.take(rows), labels, self.paths.take(rows), names)

    def require_new(self, more: Records) -> None:
        """Raises a UserError if an id of `more` is among these already, or twice in `more`."""
        row_of = {one: row for row, one in enumerate(self.ids)}
        own: set[str] = set()
        for row, one in enumerate(more.ids):
            if one in own:
                raise UserError(
                    f"the image id {one!r} is there already: {more.paths[row]} and an image before it have it; ids in"
                    " an index are unique. Give each an image_id of its own in the annotations."
                )
            if one in row_of:
                raise _taken(one, more.paths[row], self.paths[row_of[one]])
            own.add(one)

    def require_one_numbering(self, more: Records) -> None:
        """Raises a UserError, with the classes by name, if a label has another name in `more`."""
        other = [(label, name) for label, name in more.names.items() if self.names.get(label, name) != name]
        if not other:
            return
        number_of = {name: label for label, name in self.names.items()}
        told = [
            f"{name!r} has the number {label} there, which is {self.names[label]!r} in the index"
            + (f" ({name!r} is {number_of[name]})" if name in number_of else "")
            for label, name in other[:_SHOWN]
        ]
        raise UserError(
            f"{counted(len(other), 'class')} of what is added cannot keep the numbers: {'; '.join(told)}."
            " Number both by one list of classes, or add photographs by the names of their folders, with"
            " --images DIR --label-from folder."
        )

    def followed_by(self, more: Records) -> Records:
        """These records, then `more`. UserError: a label has another name in `more`."""
        self.require_one_numbering(more)
        return Records(
            _joined(self.ids, more.ids),
            np.concatenate([self.labels, more.labels]),
            _joined(self.paths, more.paths),
            {**self.names, **more.names},
        )


class Index:
    """Vectors in a store, row by row beside their records. facts: where they come from, such as checkpoint_sha256."""

    def __init__(self, store: VectorStore, records: Records, facts: Mapping[str, Any]) -> None:
        self.store, self.records, self.facts = store, records, dict(facts)

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
        layout = Layout(kind, metric, parameters_for(kind, num_vectors, dim, parameters), num_vectors)
        nothing = Records(Strings.of([]), np.empty(0, np.int64), Strings.of([]))
        index = cls(new_store(layout, dim, seed), nothing, facts or {})
        _check_lengths(records, num_vectors)
        nothing.require_new(records)
        if isinstance(index.store, IvfStore):
            index.store.train(index._ready(_sample(vectors, layout.parameters["num_lists"], seed)))
        index.add(vectors, records)
        return index

    def __len__(self) -> int:
        return len(self.records)

    @property
    def layout(self) -> Layout:
        return self.store.layout

    @property
    def dim(self) -> int:
        return self.store.dim

    def add(self, vectors: np.ndarray, records: Records) -> None:
        """Adds vectors (n, D) behind those that are there. Their image ids must be new."""
        self._check_dim(vectors)
        _check_lengths(records, len(vectors))
        self.records.require_new(records)
        joined = self.records.followed_by(records)
        check_room(self.layout.kind, len(self) + self.store.num_dead + len(records))
        # All blocks are checked before the first is added: a NaN in the last block must not leave half of them added.
        for start in range(0, len(vectors), _BLOCK_ROWS):
            self._ready(vectors[start : start + _BLOCK_ROWS])
        for start in range(0, len(vectors), _BLOCK_ROWS):
            self.store.add(self._ready(vectors[start : start + _BLOCK_ROWS]))
        self.records = joined

    def remove(self, rows: np.ndarray) -> None:
        """Takes out the vectors at `rows` (integers or a mask). Later rows move up."""
        gone = np.zeros(len(self), bool)
        gone[rows] = True
        self.store.remove(self.store.ids[gone])
        self.records = self.records.take(np.flatnonzero(~gone))

    def search(self, query: Array, k: int) -> Neighbours[np.ndarray]:
        """The k nearest rows of each of query (Q, D), ordered as by `retrieval.search`.

        Scores of ivf_pq are those of compressed vectors. Several threads may search at once.
        """
        if k < 1:
            raise UserError(f"k={k}: ask for at least one neighbour.")
        self._check_dim(query)
        if not len(self):
            return Neighbours(np.full((len(query), k), -np.inf, np.float32), np.full((len(query), k), -1))
        scores, ids = self.store.search(self._ready(query), k)
        rows = np.where(ids < 0, -1, np.searchsorted(self.store.ids, ids))
        order = np.lexsort((np.where(rows < 0, len(self), rows), -scores))
        return Neighbours(np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1))

    def vectors(self) -> np.ndarray:
        """(N, D) float32, as they are compared: of length 1 for cosine. ivf_pq gives them after its compression."""
        return self.store.vectors()

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
        ready, _ = comparable(vectors, vectors, self.layout.metric)
        return np.ascontiguousarray(ready.cpu().to(torch.float32).numpy())


def there_already(path: str, image_id: str, num_images: int = 1) -> UserError:
    """The error for an image that the index has. num_images: how many it has of those that are to be added."""
    more = f", and so are {num_images - 1} others" if num_images > 1 else ""
    return UserError(
        f"the image {path} with the id {image_id!r} is there already{more}. Leave it out; or, to give it another label,"
        f" remove it first with `shelfmark index remove --ids {image_id!r}`."
    )


def _taken(image_id: str, path: str, present: str) -> UserError:
    """present: the path of the image in the index that has the id."""
    if os.path.realpath(path) == os.path.realpath(present):
        return there_already(path, image_id)
    return UserError(
        f"the image id {image_id!r} is there already, of another image: {present}; ids in an index are unique. Give"
        f" {path} and the others that are added new ids with --id-prefix."
    )


def _check_lengths(records: Records, num_vectors: int) -> None:
    if not len(records.ids) == len(records.labels) == len(records.paths) == num_vectors:
        raise UserError(
            f"{num_vectors} vectors, {len(records.ids)} ids, {len(records.labels)} labels and {len(records.paths)}"
            " paths; each vector needs one of each."
        )


def _sample(vectors: np.ndarray, num_lists: int, seed: int) -> np.ndarray:
    size = max(_TRAINED_PER_LIST * num_lists, _FEWEST_TRAINED)
    if len(vectors) <= size:
        return vectors
    drawn = numpy_generator(seed, "index_sample").choice(len(vectors), size, replace=False)
    return vectors[np.sort(drawn)]


def _joined(first: Strings, second: Strings) -> Strings:
    offsets = np.concatenate([first.offsets, second.offsets[1:] + first.offsets[-1]])
    return Strings(np.concatenate([first.data, second.data]), offsets)
