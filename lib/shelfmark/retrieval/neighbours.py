"""What a search finds. Legend: Q queries, K neighbours."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

import numpy as np
from torch import Tensor

A = TypeVar("A", np.ndarray, Tensor)


class Neighbours(NamedTuple, Generic[A]):
    """The nearest of each query, best first; a tuple, so that `scores, ids = search(...)` takes it apart.

    scores: (Q, K), greater is nearer; -inf where none is left.
    ids: (Q, K) int64; -1 where none is left. What the searched one numbers its vectors by: rows of a gallery or an
    index, ids of a store.
    """

    scores: A
    ids: A
