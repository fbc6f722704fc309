"""Batches of stored features: which view a draw gets, who shares a batch, and what replaces a missing image."""

from __future__ import annotations

import numpy as np
import pytest

from shelfmark.core.errors import UserError
from shelfmark.core.strings import Strings
from shelfmark.data.feature_loader import FeatureLoader, StoredViews

LABELS = np.array([0, 0, 1, 1, 1])
PATHS = Strings.of([f"{row}.jpg" for row in range(5)])


class Order:
    """The same two batches in each epoch; row 4 is drawn three times."""

    num_batches = 2

    def rows(self, epoch: int) -> np.ndarray:
        return np.array([[4, 0, 4, 1], [2, 4, 3, 0]])


def loader(stored: list[int], rank: int = 0, world_size: int = 1, first_epoch: int = 3) -> FeatureLoader:
    """Three views. The features of a row are its number and that of the view."""
    features = np.array([[(row, view) for view in range(3)] for row in stored], dtype=np.float32).reshape(-1, 3, 2)
    views = StoredViews(features, np.array(stored, dtype=np.int64), first_epoch)
    return FeatureLoader(views, LABELS, PATHS, Order(), seed=0, rank=rank, world_size=world_size)


def test_an_epoch_takes_its_view_a_further_draw_the_next_one_and_after_the_last_the_first_comes_again() -> None:
    everything = loader([0, 1, 2, 3, 4])
    first, second = everything.epoch(3)
    assert first.images.tolist() == [[4, 0], [0, 0], [4, 1], [1, 0]]
    assert second.images.tolist() == [[2, 0], [4, 2], [3, 0], [0, 1]]
    assert (first.rows.tolist(), first.labels.tolist(), first.bad) == ([4, 0, 4, 1], [1, 0, 1, 0], ())
    assert [view for _, view in next(everything.epoch(5)).images.tolist()] == [2, 2, 0, 2]
    assert next(everything.epoch(6)).images.equal(first.images)
    resumed = list(everything.epoch(3, start_step=1))
    assert len(resumed) == 1
    assert resumed[0].images.equal(second.images)


def test_the_processes_parts_are_those_of_the_whole_batch() -> None:
    whole = next(loader([0, 1, 2, 3, 4]).epoch(3)).images
    parts = [next(loader([0, 1, 2, 3, 4], rank, 2).epoch(3)).images for rank in (0, 1)]
    assert [row for part in parts for row in part.tolist()] == whole.tolist()


def test_a_row_that_is_not_stored_is_reported_and_one_of_its_class_takes_its_place() -> None:
    first = next(loader([0, 2, 3, 4]).epoch(3))
    assert first.rows.tolist() == [4, 0, 4, 0]
    assert first.labels.tolist() == [1, 0, 1, 0]
    assert [(bad.row, bad.path) for bad in first.bad] == [(1, "1.jpg")]
    with pytest.raises(UserError, match=r"could not be read, nor could"):
        next(loader([]).epoch(3))
