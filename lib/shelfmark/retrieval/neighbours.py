"""What a search finds. Legend: Q queries, K neighbours."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

import numpy as np
from torch import Tensor

A = TypeVar("A", np.ndarray, Tensor)


class Neighbours(NamedTuple, Generic[A]):
    """The nearest of each query, best first; a tuple, so that `scores, ids = search(...)` takes it apart.

    scores: (Q, K), greater is nearer; -inf where there are fewer than K vectors.
    ids: (Q, K) int64; -1 likewise. Rows of the gallery or index that was searched, or ids of the store.
    """

    scores: A
    ids: A
