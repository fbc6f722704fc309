"""The interface of a store of vectors. Legend: N vectors, n rows of them, D embedding, Q queries, K neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from shelfmark.retrieval.neighbours import Neighbours


@dataclass(frozen=True)
class Layout:
    """How a store is built: kind of `index_kinds.KINDS`, metric of `vectors.METRICS`, parameters of the kind.

    num_trained: the number of vectors that it was built from.
    """

    kind: str
    metric: str
    parameters: Mapping[str, int]
    num_trained: int


class VectorStore(Protocol):
    """N vectors under ids. All vectors are float32, finite, and of length 1 for cosine.

    An id is an int64 that the store gives. An `Index` knows the image of each id.
    """

    file_name: str
    """Of the file that the store has in the folder of the index."""
    layout: Layout
    ids: np.ndarray
    """(N,) int64, rising, in the order in which the vectors were added. A removal may number the vectors anew."""

    @property
    def dim(self) -> int: ...

    @property
    def num_dead(self) -> int:
        """Removed vectors that still take room."""
        ...

    def add(self, vectors: np.ndarray) -> None:
        """Adds vectors (n, D), with ids above all former ones."""
        ...

    def remove(self, ids: np.ndarray) -> None:
        """Takes out the vectors with these ids (n,)."""
        ...

    def search(self, query: np.ndarray, k: int, among: np.ndarray | None = None) -> Neighbours[np.ndarray]:
        """The nearest ids of each of query (Q, D); equal scores in any order. Several threads may search at once.

        among: (n,) rising, one at least: the ids that are searched; None for all.
        """
        ...

    def vectors(self) -> np.ndarray:
        """(N, D) float32, in the order of ids; approximate ones where the store compresses. May be a view."""
        ...

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """`ids` and `vectors()` in parts, ids (n,) and vectors (n, D), without ever holding all vectors."""
        ...

    def held_ids(self) -> np.ndarray:
        """The ids that are in the structure itself, rising, whatever `ids` says; removed ones that take room too."""
        ...

    def hints(self) -> list[str]:
        """Advice to make the store better, one sentence each; may be empty."""
        ...

    def write(self, file: Path) -> None:
        """Writes the file that `read_store` opens."""
        ...

    def settle(self) -> None:
        """Called when the folder of the index, with what `write` wrote, stands in its place.

        A store outside of the folder deletes here, and not sooner, what was removed: a folder of before must find all
        its vectors.
        """
        ...

    def discard(self) -> None:
        """Takes back a store of which no folder was published."""
        ...

    def facts(self) -> dict[str, str | int]:
        """Where the vectors are, by name, for `index info`; empty if they lie in the folder of the index."""
        ...
