from __future__ import annotations

import numpy as np
import pytest
import torch

from shelfmark.core.types import Array
from shelfmark.retrieval.vectors import comparable


@pytest.mark.parametrize("vectors", [torch.tensor([[3.0, 4.0], [0.0, 0.0]]), np.array([[3.0, 4.0], [0.0, 0.0]])])
def test_a_set_that_is_its_own_gallery_is_prepared_once(vectors: Array) -> None:
    query, gallery = comparable(vectors, vectors, "cosine")
    # Twice would be a second copy of the whole set.
    assert gallery is query
    assert query.flatten().tolist() == pytest.approx([0.6, 0.8, 0, 0])
