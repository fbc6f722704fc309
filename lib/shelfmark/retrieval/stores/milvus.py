"""A store in Milvus: the vectors in a collection there, the rest of the index in its folder as ever.

Legend: N vectors, n rows of them, D embedding, Q queries, k neighbours.

The table in the folder is what holds. The collection has a name that no other one has, and vectors under ids that are
never given twice. What the collection has beyond the table is left out of every answer: vectors of an addition that
was not finished, and removed ones that came back. A filter is a list of ids, so no text of a user reaches Milvus.

Milvus proposes candidates. They are scored here, from their vectors, as `retrieval.search` scores, and so ordered.
Only what Milvus does not propose is missed: in kind flat the vectors behind the 16,384th candidate, if more than that
score equally.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shelfmark.core.errors import UserError
from shelfmark.core.files import read_json, write_json
from shelfmark.core.log import warn
from shelfmark.core.milvus_place import Place
from shelfmark.core.wording import counted
from shelfmark.retrieval.exact import pair_scores
from shelfmark.retrieval.index_kinds import DATABASE_KINDS
from shelfmark.retrieval.neighbours import Neighbours
from shelfmark.retrieval.stores.milvus_client import connected, pymilvus_for, told
from shelfmark.retrieval.stores.store import Layout, VectorStore

_MOST_CANDIDATES = 16384
"""Milvus gives no more to one query, and no more rows to one question."""
_SPARE_CANDIDATES, _WIDER = 8, 16
_BLOCK_QUERIES = 256
_BLOCK_IDS = 8192
_BLOCK_BYTES = 8 << 20
_METRICS = {"cosine": "IP", "dot": "IP", "euclidean": "L2"}
_INDEX_TYPES = {"flat": "FLAT", "hnsw": "HNSW"}


def require_milvus(place: Place, kind: str) -> None:
    """Raises a UserError if no index of this kind can be built there: before the long work."""
    if kind not in (*DATABASE_KINDS, "auto"):
        raise UserError(f"--kind {kind}: a Milvus store is flat or hnsw. Take one of these, or leave --store out.")
    with told(place):
        connected(place).list_collections()


def new_milvus_store(layout: Layout, dim: int, place: Place) -> VectorStore:
    """An empty collection of a new name."""
    require_milvus(place, layout.kind)
    collection = f"shelfmark_{uuid.uuid4().hex[:16]}"
    module = pymilvus_for(place)
    schema = module.MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", module.DataType.INT64, is_primary=True)
    schema.add_field("vector", module.DataType.FLOAT_VECTOR, dim=dim)
    given = layout.parameters
    structure = module.MilvusClient.prepare_index_params()
    structure.add_index(
        field_name="vector",
        index_type=_INDEX_TYPES[layout.kind],
        metric_type=_METRICS[layout.metric],
        params={} if layout.kind == "flat" else {"M": given["links"], "efConstruction": given["ef_construction"]},
    )
    with told(place):
        # Strong: a search sees all that was added and removed before it.
        connected(place).create_collection(
            collection, schema=schema, index_params=structure, consistency_level="Strong"
        )
    return MilvusStore(layout, place, collection, dim, np.empty(0, np.int64), 0)


def read_milvus_store(file: Path, layout: Layout, ids: np.ndarray, place: Place | None = None) -> VectorStore:
    """Opens the collection that the file names. UserError: it is not there, or is of other vectors.

    place: where it is now, if it was moved. A warning says if the collection lacks vectors.
    """
    named = read_json(file)
    place = place or Place.of(named["store"])
    collection = named["collection"]
    if place.file is not None and not place.file.exists():
        raise UserError(f"{place.file} does not exist: it has the vectors of the index. Say where it is with --store.")
    with told(place):
        client = connected(place)
        if not client.has_collection(collection):
            raise UserError(
                f"{place} has no collection {collection}, in which the vectors of the index are: it is the store of"
                " another index, or was emptied. Say where the vectors are with --store, or build the index again."
            )
        fields = {one["name"]: one for one in client.describe_collection(collection)["fields"]}
        if "vector" not in fields or "id" not in fields:
            raise UserError(f"the collection {collection} in {place} was not made by Shelfmark. Build the index again.")
        client.load_collection(collection)
    store = MilvusStore(layout, place, collection, int(fields["vector"]["params"]["dim"]), ids, int(named["next_id"]))
    if (lacking := len(ids) - store.num_stored()) > 0:
        warn(f"{place} lacks {lacking:,} of the index's {len(ids):,} vectors, and no search finds these. {_ADVICE}")
    return store


_ADVICE = "`shelfmark index verify` names the images, and with --repair takes them out of the index"


class MilvusStore:
    """One collection. next_id: the least id that was never given."""

    file_name = "store.json"

    def __init__(self, layout: Layout, place: Place, collection: str, dim: int, ids: np.ndarray, next_id: int) -> None:
        self.layout, self.place, self.collection, self.ids = layout, place, collection, ids
        self._dim, self._next_id = dim, next_id
        self._removed: list[np.ndarray] = []
        self._is_new = not next_id
        self._is_clean = self._is_new

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def num_dead(self) -> int:
        """Milvus frees the room itself."""
        return 0

    def num_stored(self) -> int:
        """The number of vectors in the collection."""
        return self._count("")

    def hints(self) -> list[str]:
        more = self.num_stored() - len(self.ids)
        if not more:
            return []
        if more < 0:
            return [f"{self.place} lacks {counted(-more, 'vector')}, and no search finds what they are of. {_ADVICE}"]
        return [
            f"{self.place} has {counted(more, 'vector')} that the index does not have, of removed images or of an"
            " addition that was not finished. Searches leave them out; `shelfmark index verify --repair` deletes them"
        ]

    def facts(self) -> dict[str, str | int]:
        return {"store": str(self.place), "collection": self.collection, "num_in_store": self.num_stored()}

    def add(self, vectors: np.ndarray) -> None:
        self._clean()
        ids = self._next_id + np.arange(len(vectors), dtype=np.int64)
        step = max(1, _BLOCK_BYTES // (4 * self.dim))
        with told(self.place):
            for start in range(0, len(ids), step):
                block = slice(start, start + step)
                rows = [{"id": one, "vector": vector} for one, vector in zip(ids[block].tolist(), vectors[block])]
                connected(self.place).insert(self.collection, rows)
        self.ids = np.concatenate([self.ids, ids])
        self._next_id += len(ids)

    def remove(self, ids: np.ndarray) -> None:
        """They are deleted from Milvus by `settle`."""
        self._removed.append(ids)
        self.ids = np.setdiff1d(self.ids, ids, assume_unique=True)

    def search(self, query: np.ndarray, k: int, among: np.ndarray | None = None) -> Neighbours[np.ndarray]:
        scores = np.full((len(query), k), -np.inf, np.float32)
        ids = np.full((len(query), k), -1, np.int64)
        chosen = self.ids if among is None else among
        filters = self._filters(chosen)
        most = min(k, len(chosen))
        for start in range(0, len(query), _BLOCK_QUERIES):
            queries = np.arange(len(query))[start : start + _BLOCK_QUERIES]
            width = most + _SPARE_CANDIDATES
            while len(queries):
                width = min(width, _MOST_CANDIDATES)
                hits, is_all = self._hits(query[queries], width, filters, chosen)
                found, is_settled = self._ranked(query[queries], hits, most)
                scores[queries, :most], ids[queries, :most] = found
                queries = queries[~(is_settled | is_all | (width == _MOST_CANDIDATES))]
                width *= _WIDER
        return Neighbours(scores, ids)

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Without the vectors that Milvus lacks."""
        for start in range(0, len(self.ids), _BLOCK_IDS):
            yield self._vectors_of(self.ids[start : start + _BLOCK_IDS])

    def vectors(self) -> np.ndarray:
        found, vectors = self._vectors_of(self.ids)
        if len(found) < len(self.ids):
            raise UserError(
                f"{self.place} lacks {counted(len(self.ids) - len(found), 'vector')} of the index. {_ADVICE}."
            )
        return vectors

    def write(self, file: Path) -> None:
        """Writes where the vectors are. Those of a file of milvus-lite are on the disk then."""
        if self.place.file is not None:
            with told(self.place):
                connected(self.place).flush(self.collection)
        named = {"store": str(self.place), "collection": self.collection, "next_id": self._next_id}
        write_json(file, named)

    def settle(self) -> None:
        self._is_new = False
        removed, self._removed = self._removed, []
        try:
            for ids in removed:
                self.erase(ids)
        except UserError as error:
            warn(f"{error} The index is changed; removed vectors are still in the store, and no search finds them")

    def discard(self) -> None:
        if self._is_new:
            with told(self.place):
                connected(self.place).drop_collection(self.collection)

    def held_ids(self) -> np.ndarray:
        top = max(1, self._next_id)
        while self._count(f"id >= {top}"):
            top *= 2
        found = [np.empty(0, np.int64)]
        for low in range(0, top, _BLOCK_IDS):
            within = f"id >= {low} and id < {low + _BLOCK_IDS}"
            found.append(np.array([one["id"] for one in self._query(within, ["id"])], dtype=np.int64))
        return np.unique(np.concatenate(found))

    def erase(self, ids: np.ndarray) -> None:
        """Deletes the vectors with these ids (n,) from Milvus at once, whether the index has them or not."""
        with told(self.place):
            for start in range(0, len(ids), _BLOCK_IDS):
                connected(self.place).delete(self.collection, filter=_listed(ids[start : start + _BLOCK_IDS]))

    def _clean(self) -> None:
        """Before the first addition: deletes what was removed before, and skips ids of an unfinished addition.

        Those are not deleted: where two copies of a folder name one collection, they are the images of the other.
        """
        if not self._is_clean and self.num_stored() != len(self.ids):
            stored = self.held_ids()
            self.erase(np.setdiff1d(stored[stored < self._next_id], self.ids))
            self._next_id = max(self._next_id, int(stored.max(initial=-1)) + 1)
        self._is_clean = True

    def _filters(self, chosen: np.ndarray) -> list[str]:
        """Expressions that select these ids, one or several for parts of them; none for all ids of the index."""
        others = len(self.ids) - len(chosen)
        if not others:
            return [""]
        if len(chosen) > _BLOCK_IDS and others <= _BLOCK_IDS:
            return [_listed(np.setdiff1d(self.ids, chosen, assume_unique=True), "not in")]
        return [_listed(chosen[start : start + _BLOCK_IDS]) for start in range(0, len(chosen), _BLOCK_IDS)]

    def _hits(
        self, query: np.ndarray, width: int, filters: Sequence[str], chosen: np.ndarray
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """For each query the ids that Milvus proposes, rising, those of `chosen` alone; and whether there are no more.

        width: how many are asked for.
        """
        settings = {"ef": max(self.layout.parameters["ef_search"], width)} if self.layout.kind == "hnsw" else {}
        parts: list[list[np.ndarray]] = [[] for _ in query]
        is_all = np.ones(len(query), bool)
        with told(self.place):
            for one in filters:
                answer = connected(self.place).search(
                    self.collection,
                    data=list(query),
                    filter=one,
                    limit=width,
                    output_fields=["id"],
                    anns_field="vector",
                    search_params={"metric_type": _METRICS[self.layout.metric], "params": settings},
                )
                for row, hits in enumerate(answer):
                    parts[row].append(np.array([hit["id"] for hit in hits], dtype=np.int64))
                    is_all[row] &= len(hits) < width
        return [np.intersect1d(np.concatenate(part), chosen) for part in parts], is_all

    def _ranked(
        self, query: np.ndarray, hits: Sequence[np.ndarray], k: int
    ) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        """((Q, k) scores, (Q, k) ids) of the best of each query's hits, and whether no other hit could belong to them:
        (Q,) bool, false while the worst hit equals the k-th, or there are fewer than k."""
        known, vectors = self._vectors_of(np.unique(np.concatenate(hits)))
        hits = [np.intersect1d(one, known) for one in hits]
        width = max(k, max(len(one) for one in hits))
        rows = np.full((len(query), width), -1)
        for row, one in enumerate(hits):
            rows[row, : len(one)] = np.searchsorted(known, one)
        scores = np.full(rows.shape, -np.inf, np.float32)
        if len(known):
            metric = "euclidean" if self.layout.metric == "euclidean" else "dot"
            places = torch.from_numpy(rows.clip(0))
            exact = pair_scores(torch.from_numpy(query), torch.from_numpy(vectors), places, metric).numpy()
            scores = np.where(rows < 0, -np.inf, exact)
        # Hits are in the order of their ids: of equal scores the one that was added first stays first.
        order = np.argsort(-scores, axis=1, kind="stable")
        best = np.take_along_axis(scores, order, axis=1)
        best_rows = np.take_along_axis(rows, order, axis=1)
        worst = np.where(rows < 0, np.inf, scores).min(axis=1)
        ids = np.where(best_rows < 0, -1, known[best_rows] if len(known) else -1)
        return (best[:, :k], ids[:, :k]), worst < best[:, k - 1]

    def _vectors_of(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of ids (n,), rising, those that Milvus has, and their vectors (n, D)."""
        step = max(1, min(_BLOCK_IDS, _BLOCK_BYTES // (4 * self.dim)))
        found, vectors = [np.empty(0, np.int64)], [np.empty((0, self.dim), np.float32)]
        for start in range(0, len(ids), step):
            rows = self._query(_listed(ids[start : start + step]), ["id", "vector"])
            here = {one["id"]: one["vector"] for one in rows}
            found.append(np.array(sorted(here), dtype=np.int64))
            values = np.array([here[one] for one in sorted(here)], dtype=np.float32)
            vectors.append(values.reshape(len(here), self.dim))
        return np.concatenate(found), np.concatenate(vectors)

    def _query(self, expression: str, fields: Sequence[str]) -> list[dict[str, Any]]:
        with told(self.place):
            return list(
                connected(self.place).query(
                    self.collection, filter=expression, output_fields=list(fields), limit=_MOST_CANDIDATES
                )
            )

    def _count(self, expression: str) -> int:
        with told(self.place):
            answer = connected(self.place).query(self.collection, filter=expression, output_fields=["count(*)"])
        return int(answer[0]["count(*)"])


def _listed(ids: np.ndarray, operator: str = "in") -> str:
    """An expression of Milvus. Whole numbers alone come into it."""
    return f"id {operator} {json.dumps(ids.astype(np.int64).tolist())}"
