"""Each vector's nearest among all the others. Legend: N vectors, D embedding, K neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from shelfmark.retrieval.nearest import search


def nearest_others(units: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Cosines (N, K), greatest first, and int64 rows (N, K), with K = min(k, N - 1); of equal ones the lower row.

    units: (N, D) of length 1, or 0. A vector is left out of its own list by its row, so that duplicates of it stay.
    """
    k = min(k, len(units) - 1)
    if k < 1:
        return units.new_empty(len(units), 0), torch.empty(len(units), 0, dtype=torch.int64, device=units.device)
    ids = torch.arange(len(units))
    return search(units, units, k, query_ids=ids, gallery_ids=ids)
