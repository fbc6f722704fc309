"""Who is searched for whom: labels and identities of queries and gallery. Legend: Q queries, G gallery."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from shelfmark.core.errors import UserError
from shelfmark.core.types import Array
from shelfmark.retrieval.vectors import Ids, id_codes


@dataclass(frozen=True)
class QueryGallery:
    """Labels, (Q,) and (G,), and ids as numbers, int64; equal ids, equal numbers. is_same_set: gallery = queries."""

    query_labels: np.ndarray
    gallery_labels: np.ndarray
    query_ids: np.ndarray
    gallery_ids: np.ndarray
    is_same_set: bool

    @classmethod
    def of(
        cls,
        features: Array,
        labels: Array,
        gallery: Array | None = None,
        gallery_labels: Array | None = None,
        query_ids: Ids | None = None,
        gallery_ids: Ids | None = None,
    ) -> QueryGallery:
        """Without a gallery the queries are their own, and a row's number is its id where none are given.

        Between a query set and a gallery without ids nobody is the same.
        """
        is_same_set = gallery is None
        if gallery is None:
            if gallery_labels is not None or gallery_ids is not None:
                raise UserError("gallery_labels and gallery_ids describe a gallery; give the gallery too.")
            gallery, gallery_labels = features, labels
            query_ids = gallery_ids = np.arange(len(features)) if query_ids is None else query_ids
        if gallery_labels is None:
            raise UserError("The gallery's vectors have no labels; give gallery_labels with gallery.")
        if query_ids is None and gallery_ids is None:
            query_ids, gallery_ids = np.arange(len(features)), np.arange(len(gallery)) + len(features)
        if query_ids is None or gallery_ids is None:
            raise UserError("Give query_ids and gallery_ids, or neither: a query is known in the gallery by its id.")
        return cls(
            _labels(labels, len(features), "query"),
            _labels(gallery_labels, len(gallery), "gallery"),
            *id_codes(query_ids, gallery_ids, len(features), len(gallery)),
            is_same_set,
        )


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
        """The row that holds a key for the n-th time, from 0; any row where there are not so many."""
        return self._order[np.minimum(np.searchsorted(self._sorted, keys) + places, len(self._order) - 1)]


def _labels(labels: Array, num_vectors: int, name: str) -> np.ndarray:
    array = torch.as_tensor(labels).cpu().numpy()
    if array.shape != (num_vectors,):
        raise UserError(f"{name} labels are {array.shape} for {num_vectors} {name} vectors; each needs one label.")
    return array.astype(np.int64)
