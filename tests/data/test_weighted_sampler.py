"""Images drawn as often as their weight says."""

from __future__ import annotations

import numpy as np
import pytest
from from_options import build_order

from shelfmark.core.errors import UserError

LABELS = np.array([0, 0, 1, -1, 1, 2, 2, 2])


def counts(weights: list[float] | None, steps: int, epoch: int = 0) -> np.ndarray:
    """How often each row is drawn in an epoch of `steps` batches of 4."""
    given = None if weights is None else np.array(weights, dtype=np.float32)
    rows = build_order("weighted", LABELS, 3, 4, seed=0, steps_per_epoch=steps, weights=given).rows(epoch)
    return np.bincount(rows.ravel(), minlength=len(LABELS))


def test_an_image_is_drawn_by_its_weight_to_within_one_draw() -> None:
    weights = [1, 0.5, 0.25, 7, 1, 0, 2, 0.25]
    expected = np.array([1, 0.5, 0.25, 0, 1, 0, 2, 0.25]) / 5 * 400
    for epoch in range(3):
        assert np.abs(counts(weights, 100, epoch) - expected).max() < 1


def test_what_is_rounded_up_is_drawn_by_chance_so_that_the_mean_is_the_weight() -> None:
    weights = [1, 0.5, 0.25, 0, 1, 0.75, 2, 0.3]
    total = sum(counts(weights, 1, epoch) for epoch in range(600))
    np.testing.assert_allclose(total / 600, np.array(weights) / sum(weights) * 4, atol=0.06)


def test_without_weights_every_labelled_image_comes_once() -> None:
    labels = np.concatenate([LABELS, [0]])
    rows = build_order("weighted", labels, 3, 4, seed=0).rows(0)
    assert sorted(rows.ravel().tolist()) == [0, 1, 2, 4, 5, 6, 7, 8]


def test_weights_of_nothing_are_refused() -> None:
    with pytest.raises(UserError, match="add up to 0"):
        counts([0, 0, 0, 5, 0, 0, 0, 0], 1)
