"""Queries and a gallery: vectors, labels and ids of both. Legend: Q queries, G gallery, D embedding."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.core.types import Array
from shelfmark.retrieval.vectors import Ids, as_tensor, id_codes


@dataclass(frozen=True, eq=False)
class QueryGallery:
    """Queries (Q, D) with labels and ids (Q,), and a gallery (G, D) with labels and ids (G,).

    Labels and ids are int64; a label of -1 is none. Equal ids are one image, whose vector may be another on each side.
    is_same_set: the gallery is the queries, so it has their vectors too.
    """

    query: Tensor
    gallery: Tensor
    query_labels: np.ndarray
    gallery_labels: np.ndarray
    query_ids: np.ndarray
    gallery_ids: np.ndarray
    is_same_set: bool

    @classmethod
    def of(
        cls,
        query: Array,
        query_labels: Array,
        gallery: Array | None = None,
        gallery_labels: Array | None = None,
        query_ids: Ids | None = None,
        gallery_ids: Ids | None = None,
    ) -> QueryGallery:
        """Without a gallery the queries are the gallery too, and without ids a row's number is its id.

        Queries and a gallery that have no ids share no image.
        """
        vectors = as_tensor(query)
        is_same_set = gallery is None
        if gallery is None:
            if gallery_labels is not None or gallery_ids is not None:
                raise UserError("gallery_labels and gallery_ids describe a gallery; give the gallery too.")
            gallery, gallery_labels = query, query_labels
            query_ids = gallery_ids = np.arange(len(query)) if query_ids is None else query_ids
        if gallery_labels is None:
            raise UserError("The gallery's vectors have no labels; give gallery_labels with gallery.")
        if query_ids is None and gallery_ids is None:
            query_ids, gallery_ids = np.arange(len(query)), np.arange(len(gallery)) + len(query)
        if query_ids is None or gallery_ids is None:
            raise UserError("Give query_ids and gallery_ids, or neither: a query is known in the gallery by its id.")
        return cls(
            vectors,
            vectors if is_same_set else as_tensor(gallery),
            _labels(query_labels, len(query), "query"),
            _labels(gallery_labels, len(gallery), "gallery"),
            *id_codes(query_ids, gallery_ids, len(query), len(gallery)),
            is_same_set,
        )

    def on(self, device: torch.device | str) -> QueryGallery:
        """The same, with the vectors on `device`; they are copied only if they are on another device."""
        query = self.query.to(device)
        return replace(self, query=query, gallery=query if self.is_same_set else self.gallery.to(device))

    def class_sizes(self) -> np.ndarray:
        """(Q,) gallery items with the query's label; 0 for a query without one."""
        sizes = RowsByKey(self.gallery_labels).count(self.query_labels)
        return np.where(self.query_labels < 0, 0, sizes)


class RowsByKey:
    """The rows that hold a key, for many keys at once."""

    def __init__(self, keys: np.ndarray) -> None:
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    def count(self, keys: np.ndarray) -> np.ndarray:
        """(n,) how many rows hold each key."""
        return np.searchsorted(self._sorted, keys, side="right") - np.searchsorted(self._sorted, keys)

    def rows(self, keys: np.ndarray) -> np.ndarray:
        """(n, most rows of one key) int64 rows in rising order, padded with -1."""
        counts = self.count(keys)
        steps = np.arange(counts.max(initial=0))
        return np.where(steps < counts[:, None], self.nth(keys[:, None], steps), -1)

    def nth(self, keys: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The row that holds a key for the n-th time, from 0; any row if the key has fewer rows."""
        return self._order[np.minimum(np.searchsorted(self._sorted, keys) + places, len(self._order) - 1)]


def _labels(labels: Array, num_vectors: int, name: str) -> np.ndarray:
    array = torch.as_tensor(labels).cpu().numpy()
    if array.shape != (num_vectors,):
        raise UserError(f"{name} labels are {array.shape} for {num_vectors} {name} vectors; each needs one label.")
    return array.astype(np.int64)
