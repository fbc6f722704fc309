"""The index of a service: what is nearest, and the pictures of its rows by class or id, never by path.

Legend: Q photographs, D embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from shelfmark.core.errors import UserError
from shelfmark.core.folders import read_folder
from shelfmark.data.boxes import Crop, crop_of
from shelfmark.retrieval import Neighbours
from shelfmark.retrieval.index import Index
from shelfmark.retrieval.index_files import index_hash, read_index
from shelfmark.runtime.model_hashes import same_embedding


@dataclass(frozen=True, eq=False)
class Gallery:
    """sha256: of the index. Several threads may ask at once."""

    index: Index
    sha256: str

    @classmethod
    def open(cls, folder: Path, model_facts: Mapping[str, Any], dim: int) -> Gallery:
        """UserError: it is empty, or of another model."""
        index, sha256 = read_folder(folder, lambda whole: (read_index(whole), index_hash(whole)))
        if not len(index):
            raise UserError(f"{folder} is empty: all its images were removed. Add some with `shelfmark index add`.")
        if index.dim != dim or not same_embedding(index.facts, model_facts):
            raise UserError(
                f"{folder} was built with another model than the one that is served. Vectors of two models cannot be"
                " compared: build an index with this model by `shelfmark index build`."
            )
        return cls(index, sha256)

    @property
    def version(self) -> str:
        """Twelve letters that another index does not have."""
        return self.sha256[:12]

    @property
    def shares_classes(self) -> bool:
        """Whether it numbers its classes as the model does, so that neighbours can vote."""
        return bool(self.index.facts.get("shares_classes", False))

    def nearest(self, embedding: np.ndarray, k: int) -> Neighbours[np.ndarray]:
        """The k nearest rows, or all of a smaller index, for embeddings (Q, D)."""
        return self.index.search(embedding, min(k, len(self.index)))

    def neighbours(self, scores: np.ndarray, rows: np.ndarray) -> list[dict[str, Any]]:
        """The neighbours of one picture as JSON. scores, rows: (K,); rows of -1 are left out."""
        return [self._neighbour(score, row) for score, row in zip(scores.tolist(), rows.tolist()) if row >= 0]

    def picture_of_class(self, label: int | None) -> str | None:
        """Where the first picture of a class is got; None where there is none."""
        row = None if label is None else self.row(str(label), 0)
        return None if row is None or label is None else self._url(str(label), 0)

    def row(self, identity: str, number: int) -> int | None:
        """The row of picture `number` of a class, which `identity` numbers, or of the image with that id."""
        if identity.isascii() and identity.isdecimal() and len(identity) < 19:
            first, last = np.searchsorted(self._sorted_labels, [int(identity), int(identity) + 1])
            return int(self._by_label[first + number]) if 0 <= number < last - first else None
        return self._row_of_id.get(identity) if number == 0 else None

    def path(self, row: int) -> Path:
        """Of the picture's file; it never leaves the service."""
        return Path(self.index.records.paths[row])

    def crop(self, row: int) -> Crop | None:
        """The part of the file's picture that the vector is of; None for the whole."""
        boxes = self.index.records.boxes
        return None if boxes is None else crop_of(boxes[row])

    @property
    def num_classes(self) -> int:
        labels = self._sorted_labels
        return len(np.unique(labels[labels >= 0]))

    def _neighbour(self, score: float, row: int) -> dict[str, Any]:
        label = int(self.index.records.labels[row])
        known = {"class": None, "name": None} if label < 0 else {"class": label, "name": self.name(label)}
        return {**known, "score": score, "picture": self._picture(row, label)}

    def name(self, label: int) -> str | None:
        return self.index.records.names.get(label) or None

    def _picture(self, row: int, label: int) -> str | None:
        if label >= 0:
            return self._url(str(label), int(self._place_in_class[row]))
        identity = self.index.records.ids[row]
        # A number would be taken for a class.
        return None if identity.isdecimal() or not identity.isprintable() else self._url(identity, 0)

    def _url(self, identity: str, number: int) -> str:
        return f"/product/{quote(identity, safe='')}/picture/{number}?v={self.version}"

    @cached_property
    def _by_label(self) -> np.ndarray:
        return np.argsort(self.index.records.labels, kind="stable")

    @cached_property
    def _sorted_labels(self) -> np.ndarray:
        return self.index.records.labels[self._by_label]

    @cached_property
    def _place_in_class(self) -> np.ndarray:
        places = np.empty(len(self.index), np.int64)
        places[self._by_label] = np.arange(len(self.index)) - np.searchsorted(self._sorted_labels, self._sorted_labels)
        return places

    @cached_property
    def _row_of_id(self) -> dict[str, int]:
        return {one: row for row, one in enumerate(self.index.records.ids)}
