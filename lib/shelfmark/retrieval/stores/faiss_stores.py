"""Stores by faiss, one class for each of its structures. Legend: N vectors, n rows of them, D embedding, Q queries.

In flat and hnsw an id is the vector's place, counted from 0. When faiss removes a vector from flat, later ones move up;
from hnsw it cannot remove. In the ivf kinds the store gives each vector an id when it is added.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.rng import derive_seed
from shelfmark.retrieval import faiss_module
from shelfmark.retrieval.faiss_module import torch_threads
from shelfmark.retrieval.nearest import search
from shelfmark.retrieval.neighbours import Neighbours
from shelfmark.retrieval.stores.store import Layout, VectorStore

_DEAD_PART, _GROWTH = 0.2, 4
# A graph reads the vectors of all neighbours of a candidate: so many candidates cost as much as to compare all.
_MANY_PARTS = 0.1
_BLOCK_ROWS = 65536


def new_faiss_store(layout: Layout, dim: int, seed: int) -> VectorStore:
    """An empty store. An `IvfStore`, for the ivf kinds, must be trained before vectors are added."""
    faiss = _faiss()
    measure = faiss.METRIC_L2 if layout.metric == "euclidean" else faiss.METRIC_INNER_PRODUCT
    nothing = np.empty(0, np.int64)
    if layout.kind == "flat":
        return FlatStore(layout, faiss.IndexFlat(dim, measure), nothing)
    if layout.kind == "hnsw":
        graph = faiss.IndexHNSWFlat(dim, layout.parameters["links"], measure)
        graph.hnsw.efConstruction = layout.parameters["ef_construction"]
        return HnswStore(layout, graph, nothing)
    return IvfStore(layout, _lists(layout, faiss.IndexFlat(dim, measure), measure, seed), nothing)


def read_faiss_store(file: Path, layout: Layout, ids: np.ndarray) -> VectorStore:
    """Reads the file that a store's `write` wrote. Check its hash before: faiss trusts the content."""
    try:
        structure = _faiss().read_index(str(file))
    except RuntimeError as error:
        raise UserError(f"{file} cannot be read by this faiss: {error}") from error
    return _CLASSES[layout.kind](layout, structure, ids)


class _FaissStore:
    """structure: a faiss index; faiss has no types to name."""

    file_name = "index.faiss"

    def __init__(self, layout: Layout, structure: Any, ids: np.ndarray) -> None:
        self.layout, self.structure, self.ids = layout, structure, ids

    @property
    def dim(self) -> int:
        return self.structure.d

    @property
    def num_dead(self) -> int:
        return self.structure.ntotal - len(self.ids)

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(self.ids), _BLOCK_ROWS):
            ids = self.ids[start : start + _BLOCK_ROWS]
            yield ids, self._vectors_of(ids)

    def held_ids(self) -> np.ndarray:
        return np.arange(self.structure.ntotal)

    def hints(self) -> list[str]:
        return []

    def _vectors_of(self, ids: np.ndarray) -> np.ndarray:
        return self.structure.reconstruct_batch(ids)

    def write(self, file: Path) -> None:
        """Writes faiss's own format."""
        _faiss().write_index(self.structure, str(file))

    def settle(self) -> None:
        """The file is all there is."""

    def discard(self) -> None:
        """Nothing lies outside of memory."""

    def facts(self) -> dict[str, str | int]:
        return {}

    def _ask(self, query: np.ndarray, k: int, settings: Any) -> Neighbours[np.ndarray]:
        # faiss.contrib.torch_utils, which pytorch-metric-learning imports, replaces `search` by one without `params`.
        searched = getattr(self.structure, "search_numpy", self.structure.search)
        with torch_threads():
            scores, ids = searched(query, k, params=settings)
        if self.layout.metric == "euclidean":
            scores = -np.sqrt(np.maximum(scores, 0))
        scores[ids < 0] = -np.inf
        return Neighbours(scores, ids)

    def _nearest(self, query: np.ndarray, vectors: np.ndarray, k: int) -> Neighbours[np.ndarray]:
        """Compares a query with each of vectors (n, D)."""
        # The vectors are of length 1 already where the metric is cosine.
        return search(query, vectors, k, metric="dot" if self.layout.metric == "cosine" else self.layout.metric)


class FlatStore(_FaissStore):
    """Compares a query with every vector."""

    def add(self, vectors: np.ndarray) -> None:
        with torch_threads():
            self.structure.add(vectors)
        self.ids = np.arange(self.structure.ntotal)

    def remove(self, ids: np.ndarray) -> None:
        self.structure.remove_ids(_faiss().IDSelectorBatch(ids))
        self.ids = np.arange(self.structure.ntotal)

    def search(self, query: np.ndarray, k: int, among: np.ndarray | None = None) -> Neighbours[np.ndarray]:
        if among is None:
            return self._nearest(query, self.vectors(), k)
        found = self._nearest(query, self.vectors()[among], k)
        return Neighbours(found.scores, np.where(found.ids < 0, -1, among[found.ids]))

    def vectors(self) -> np.ndarray:
        if not len(self.ids):
            return np.empty((0, self.dim), np.float32)
        values = self.structure.ntotal * self.dim
        return _faiss().rev_swig_ptr(self.structure.get_xb(), values).reshape(-1, self.dim)


class HnswStore(_FaissStore):
    """A graph over the vectors. Removed vectors stay in the graph, and searches leave them out of the answer."""

    def add(self, vectors: np.ndarray) -> None:
        first = self.structure.ntotal
        with torch_threads():
            self.structure.add(vectors)
        self.ids = np.concatenate([self.ids, np.arange(first, first + len(vectors))])

    def remove(self, ids: np.ndarray) -> None:
        self.ids = np.setdiff1d(self.ids, ids, assume_unique=True)

    def search(self, query: np.ndarray, k: int, among: np.ndarray | None = None) -> Neighbours[np.ndarray]:
        candidates = max(self.layout.parameters["ef_search"], k)
        if among is not None:
            # The graph is walked whatever is selected: what a search comes by must have enough of the selected ones.
            candidates = int(np.ceil(candidates * len(self.ids) / len(among)))
        if among is not None and candidates >= _MANY_PARTS * len(among):
            found = self._nearest(query, self.structure.reconstruct_batch(among), k)
            return Neighbours(found.scores, np.where(found.ids < 0, -1, among[found.ids]))
        settings: dict[str, Any] = {"efSearch": candidates}
        if self.num_dead or among is not None:
            # faiss keeps a pointer into the mask: it has to live as long as the search.
            chosen = self.ids if among is None else among
            mask = np.packbits(np.bincount(chosen, minlength=self.structure.ntotal).astype(bool), bitorder="little")
            settings["sel"] = _faiss().IDSelectorBitmap(mask)
        return self._ask(query, k, _faiss().SearchParametersHNSW(**settings))

    def vectors(self) -> np.ndarray:
        return self.structure.reconstruct_batch(self.ids) if len(self.ids) else np.empty((0, self.dim), np.float32)

    def hints(self) -> list[str]:
        if self.num_dead <= _DEAD_PART * self.structure.ntotal:
            return []
        return [
            f"{self.num_dead:,} of {self.structure.ntotal:,} vectors are removed ones, which hnsw only passes over;"
            " `shelfmark index compact` frees them"
        ]


class IvfStore(_FaissStore):
    """Lists of vectors about centres, of which a search reads the nearest few; ivf_pq compresses the vectors."""

    def train(self, sample: np.ndarray) -> None:
        """Learns the centres from a sample (n, D)."""
        with torch_threads():
            self.structure.train(sample)

    def add(self, vectors: np.ndarray) -> None:
        first = int(self.ids[-1]) + 1 if len(self.ids) else 0
        ids = first + np.arange(len(vectors), dtype=np.int64)
        with torch_threads():
            self.structure.add_with_ids(vectors, ids)
        self.ids = np.concatenate([self.ids, ids])

    def remove(self, ids: np.ndarray) -> None:
        self.structure.remove_ids(_faiss().IDSelectorBatch(ids))
        self.ids = np.setdiff1d(self.ids, ids, assume_unique=True)

    def search(self, query: np.ndarray, k: int, among: np.ndarray | None = None) -> Neighbours[np.ndarray]:
        num_probes = self.layout.parameters["num_probes"]
        if among is None:
            return self._ask(query, k, _faiss().SearchParametersIVF(nprobe=num_probes))
        # Of the selected vectors as many are looked at as of all without a selection.
        more = int(np.ceil(num_probes * len(self.ids) / len(among)))
        chosen = _faiss().IDSelectorBatch(among)
        settings = _faiss().SearchParametersIVF(nprobe=min(more, self.layout.parameters["num_lists"]), sel=chosen)
        return self._ask(query, k, settings)

    def vectors(self) -> np.ndarray:
        if not len(self.ids):
            return np.empty((0, self.dim), np.float32)
        with self._places():
            return self._vectors_of(self.ids)

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        with self._places():
            yield from super().blocks()

    def held_ids(self) -> np.ndarray:
        lists, ids = self.structure.invlists, [np.empty(0, np.int64)]
        for number in range(lists.nlist):
            if size := lists.list_size(number):
                ids.append(_faiss().rev_swig_ptr(lists.get_ids(number), size).copy())
        return np.sort(np.concatenate(ids))

    def hints(self) -> list[str]:
        if len(self.ids) <= _GROWTH * self.layout.num_trained:
            return []
        again = (
            "build the index again" if self.layout.kind == "ivf_pq" else "`shelfmark index compact` lays them out anew"
        )
        return [
            f"the lists were laid out for {self.layout.num_trained:,} vectors and hold {len(self.ids):,}; {again},"
            " for as quick an answer as before"
        ]

    @contextmanager
    def _places(self) -> Iterator[None]:
        """Lets vectors be read by their ids."""
        self.structure.set_direct_map_type(_faiss().DirectMap.Hashtable)
        try:
            yield
        finally:
            self.structure.set_direct_map_type(_faiss().DirectMap.NoMap)


_CLASSES: dict[str, type[FlatStore] | type[HnswStore] | type[IvfStore]] = {
    "flat": FlatStore,
    "hnsw": HnswStore,
    "ivf_flat": IvfStore,
    "ivf_pq": IvfStore,
}


def _lists(layout: Layout, centres: Any, measure: int, seed: int) -> Any:
    faiss, given = _faiss(), layout.parameters
    if layout.kind == "ivf_flat":
        lists = faiss.IndexIVFFlat(centres, centres.d, given["num_lists"], measure)
    else:
        lists = faiss.IndexIVFPQ(centres, centres.d, given["num_lists"], given["num_bytes"], 8, measure)
        lists.pq.cp.seed = derive_seed(seed, "index_product_centres") % 2**31
        lists.pq.cp.min_points_per_centroid = 1
    lists.cp.seed = derive_seed(seed, "index_centres") % 2**31
    # Below the least faiss only warns: the number of lists is chosen by the number of vectors already.
    lists.cp.min_points_per_centroid = 1
    return lists


def _faiss() -> Any:
    return faiss_module.required("An index needs")
