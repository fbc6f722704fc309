"""Classes with many, medium and few training images. Legend: C classes."""

from __future__ import annotations

import numpy as np

from shelfmark.ops.class_metrics import GROUPS


def bucket_masks(counts: np.ndarray, many: int, few: int) -> dict[str, np.ndarray]:
    """many, medium, few -> (C,) bool; without the groups that no class is in. counts: (C,) training images."""
    is_many, is_few = counts > many, counts < few
    members = zip(GROUPS, (is_many, ~is_many & ~is_few, is_few))
    return {name: mask for name, mask in members if mask.any()}
