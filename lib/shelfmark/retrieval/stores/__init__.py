"""Stores: they keep the vectors of an index and search them."""

from shelfmark.retrieval.stores.faiss_stores import IvfStore, new_store, read_store
from shelfmark.retrieval.stores.store import Layout, VectorStore

__all__ = ["IvfStore", "Layout", "VectorStore", "new_store", "read_store"]
