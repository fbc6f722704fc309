"""A gallery that is built once and searched often. Legend: N vectors, D embedding, Q queries, K neighbours.

Neighbours come as from `retrieval.search`: by falling score, and of equal scores the vector that was added first. Kind
flat compares a query with every vector; the other kinds look at a part of the vectors and may miss some.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from shelfmark.core.columns import Column, joined, joined_boxes, taken
from shelfmark.core.errors import UserError, choose
from shelfmark.core.rng import numpy_generator
from shelfmark.core.strings import Strings
from shelfmark.core.types import Array
from shelfmark.core.wording import counted
from shelfmark.retrieval.effort import EFFORT, Promise, choose_effort
from shelfmark.retrieval.index_kinds import KINDS, PQ_CENTRES, check_room, choose_kind, parameters_for
from shelfmark.retrieval.neighbours import Neighbours
from shelfmark.retrieval.recall import NUM_QUERIES, drawn, exact_sample
from shelfmark.retrieval.stores import IvfStore, Layout, Place, VectorStore, new_store
from shelfmark.retrieval.vectors import METRICS, comparable

_BLOCK_ROWS, _SHOWN = 65536, 3
_TRAINED_PER_LIST, _FEWEST_TRAINED = 64, 65536
_FEWEST_PER_QUERY, _QUERIES = 4, "index_queries"


@dataclass(frozen=True, eq=False)
class Records:
    """The labels, ids and paths of N vectors. labels: (N,) int64, -1 for none.

    names, groups: label -> name of the class, and of its group; of some labels. columns: (N,) further values by name.
    boxes: (N, 4) float32, x, y, width, height of the part of the picture, NaN for the whole; None where all are whole.
    """

    ids: Strings
    labels: np.ndarray
    paths: Strings
    names: Mapping[int, str] = field(default_factory=dict)
    groups: Mapping[int, str] = field(default_factory=dict)
    columns: Mapping[str, Column] = field(default_factory=dict)
    boxes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> Records:
        """The records at `rows` (n,) integers, in that order, with the names and groups of their labels alone."""
        labels = self.labels[rows]
        kept = set(np.unique(labels).tolist())
        names, groups = (
            {label: name for label, name in known.items() if label in kept} for known in (self.names, self.groups)
        )
        boxes = None if self.boxes is None else self.boxes[rows]
        columns = taken(self.columns, rows)
        return Records(self.ids.take(rows), labels, self.paths.take(rows), names, groups, columns, boxes)

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
        """These records, then `more`, whose groups hold for all. UserError: a label has another name in `more`."""
        self.require_one_numbering(more)
        return Records(
            Strings.joined([self.ids, more.ids]),
            np.concatenate([self.labels, more.labels]),
            Strings.joined([self.paths, more.paths]),
            {**self.names, **more.names},
            {**self.groups, **more.groups},
            joined([(self.columns, len(self)), (more.columns, len(more))]),
            joined_boxes([(self.boxes, len(self)), (more.boxes, len(more))]),
        )


class Index:
    """Vectors in a store, row by row beside their records. facts: where they come from, such as checkpoint_sha256.

    num_built: how many of the rows, the first ones, came with the build. promise: the recall that was measured then;
    None for flat and hnsw, for parameters that were given, and for an index of an earlier version. num_removed:
    how many removed vectors the store should hold still; None for an index of an earlier version.
    """

    def __init__(
        self,
        store: VectorStore,
        records: Records,
        facts: Mapping[str, Any],
        num_built: int = 0,
        promise: Promise | None = None,
        num_removed: int | None = 0,
    ) -> None:
        self.store, self.records, self.facts = store, records, dict(facts)
        self.num_built, self.promise, self.num_removed = num_built, promise, num_removed

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
        place: Place | None = None,
    ) -> Index:
        """An index of vectors (N, D), which may be a memory map: they are read block by block.

        kind: `auto` takes `choose_kind`'s. parameters: some of the kind's, in place of the defaults, see
        `parameters_for`. How much a search reads is found by trial, unless it is among them: see `choose_effort`.
        seed: of the sample that the ivf kinds learn their centres from, and of the queries of the trial.
        place: of the database that the vectors go to, in place of a file of faiss.
        """
        choose("kind", kind, ("auto", *KINDS))
        choose("metric", metric, METRICS)
        num_vectors, dim = vectors.shape
        if not num_vectors:
            raise UserError("There is nothing to build an index of: no vector was given.")
        if kind == "auto":
            kind, _ = choose_kind(num_vectors, dim, place is not None)
        layout = Layout(kind, metric, parameters_for(kind, num_vectors, dim, parameters), num_vectors)
        nothing = Records(Strings.of([]), np.empty(0, np.int64), Strings.of([]))
        _check_lengths(records, num_vectors)
        nothing.require_new(records)
        index = cls(new_store(layout, dim, seed, place), nothing, facts or {})
        try:
            index._fill(vectors, records, seed, chooses_effort=EFFORT.get(kind, "") not in (parameters or {}))
        except BaseException:
            index.store.discard()
            raise
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
        all_records = self.records.followed_by(records)
        check_room(self.layout.kind, len(self) + self.store.num_dead + len(records))
        # All blocks are checked before the first is added: a NaN in the last block must not leave half of them added.
        for _ in self._blocks(vectors):
            pass
        for _, block in self._blocks(vectors):
            self.store.add(block)
        self.records = all_records

    def remove(self, rows: np.ndarray) -> None:
        """Takes out the vectors at `rows` (integers or a mask). Later rows move up."""
        gone = np.zeros(len(self), bool)
        gone[rows] = True
        before = self.store.num_dead
        self.store.remove(self.store.ids[gone])
        if self.num_removed is not None:
            self.num_removed += self.store.num_dead - before
        self.records = self.records.take(np.flatnonzero(~gone))
        self.num_built -= int(gone[: self.num_built].sum())

    def search(self, query: Array, k: int, among: np.ndarray | None = None) -> Neighbours[np.ndarray]:
        """The k nearest rows of each of query (Q, D), ordered as by `retrieval.search`.

        among: (n,) rising rows, the only ones that are searched. Scores of ivf_pq are those of compressed vectors.
        Several threads may search at once.
        """
        if k < 1:
            raise UserError(f"k={k}: ask for at least one neighbour.")
        self._check_dim(query)
        if not len(self) or (among is not None and not len(among)):
            return Neighbours(np.full((len(query), k), -np.inf, np.float32), np.full((len(query), k), -1))
        scores, ids = self.store.search(self._ready(query), k, None if among is None else self.store.ids[among])
        rows = np.where(ids < 0, -1, np.searchsorted(self.store.ids, ids))
        order = np.lexsort((np.where(rows < 0, len(self), rows), -scores))
        return Neighbours(np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1))

    def vectors(self) -> np.ndarray:
        """(N, D) float32, as they are compared: of length 1 for cosine. ivf_pq gives them after its compression."""
        return self.store.vectors()

    def _fill(self, vectors: np.ndarray, records: Records, seed: int, chooses_effort: bool) -> None:
        """Adds what a new index is built of. chooses_effort: find by trial how much a search reads."""
        trained, held_out = _divided(len(vectors), self.layout, seed)
        if isinstance(self.store, IvfStore):
            self.store.train(self._ready(vectors if len(trained) == len(vectors) else vectors[trained]))
        self.add(vectors, records)
        self.num_built = len(vectors)
        if self.layout.kind in EFFORT and chooses_effort and len(held_out):
            # In a new store the ids are the rows.
            sample = exact_sample(held_out, self._ready(vectors[held_out]), self._blocks(vectors), self.layout.metric)
            self.promise = None if sample is None else choose_effort(self.store, sample)

    def _check_dim(self, vectors: Array) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise UserError(
                f"vectors are {tuple(vectors.shape)}; the index holds vectors of {self.dim} dimensions."
                " Both must come from the same checkpoint."
            )

    def _blocks(self, vectors: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The rows of vectors (N, D) in blocks, and the vectors as they are compared."""
        for start in range(0, len(vectors), _BLOCK_ROWS):
            block = self._ready(vectors[start : start + _BLOCK_ROWS])
            yield np.arange(start, start + len(block)), block

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


def _divided(num_vectors: int, layout: Layout, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows that centres are learned from, and rows that they have not seen, for a trial; none of few vectors."""
    if "num_lists" not in layout.parameters:
        return np.arange(0), np.arange(0)
    least = PQ_CENTRES if layout.kind == "ivf_pq" else layout.parameters["num_lists"]
    num_held = min(NUM_QUERIES, num_vectors // _FEWEST_PER_QUERY, max(0, num_vectors - least))
    size = min(max(_TRAINED_PER_LIST * layout.parameters["num_lists"], _FEWEST_TRAINED), num_vectors - num_held)
    if size == num_vectors:
        return np.arange(num_vectors), np.arange(0)
    trained = np.sort(numpy_generator(seed, "index_sample").choice(num_vectors, size, replace=False))
    others = np.setdiff1d(np.arange(num_vectors), trained, assume_unique=True)
    return trained, others[drawn(len(others), num_held, seed, _QUERIES)]
