"""Stores: they keep the vectors of an index and search them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.milvus_place import Place
from shelfmark.retrieval.stores.faiss_stores import FlatStore, IvfStore, new_faiss_store, read_faiss_store
from shelfmark.retrieval.stores.milvus import MilvusStore, new_milvus_store, read_milvus_store
from shelfmark.retrieval.stores.store import Layout, VectorStore

FAISS_FILE, MILVUS_FILE = FlatStore.file_name, MilvusStore.file_name
"""The file that says where the vectors of an index are: it has them, or it names the database that has them."""


def new_store(layout: Layout, dim: int, seed: int, place: Place | None = None) -> VectorStore:
    """An empty store, of faiss without a place. An `IvfStore`, for the ivf kinds, must be trained before vectors are
    added."""
    return new_faiss_store(layout, dim, seed) if place is None else new_milvus_store(layout, dim, place)


def read_store(file: Path, layout: Layout, ids: np.ndarray, place: Place | None = None) -> VectorStore:
    """Reads the file that a store's `write` wrote. Check its hash before. place: where the database is now, if it was
    moved."""
    if file.name == MILVUS_FILE:
        return read_milvus_store(file, layout, ids, place)
    if place is not None:
        raise UserError(
            f"--store {place}: the vectors of this index are not in a database, they lie in {file}. Leave --store out;"
            " to move them, build the index again with --store."
        )
    return read_faiss_store(file, layout, ids)


__all__ = [
    "FAISS_FILE",
    "MILVUS_FILE",
    "IvfStore",
    "Layout",
    "MilvusStore",
    "Place",
    "VectorStore",
    "new_store",
    "read_store",
]
