from __future__ import annotations

from typing import Any

import pytest
import torch

from shelfmark.core.errors import UserError
from shelfmark.discovery.select import by_density, by_distance, by_size, compacted, joined

# Rows:                 labelled, pool ...
_MASK = torch.tensor([0, 2, 1, 2, 0, 1, 2])
_LABELS = torch.tensor([4, 0, 0, 1, 2, 1, 2])
_DENSITY = torch.tensor([0.99, 0.9, 0.5, 0.8, 0.99, 0.85, 0.7])
_EXPECTED = [4, 10, -1, -1, 2, 11, -1]
_EXPECTED_MASK = [0, 1, 2, 2, 0, 1, 2]


def test_dense_images_of_the_pool_become_pseudo_classes_and_labelled_ones_stay() -> None:
    labels, mask = by_density(_LABELS, _DENSITY, 0.8, offset=10, mask=_MASK)
    # 0.8 is not above 0.8 in float32; row 2 was selected before and is not any more.
    assert labels.tolist() == _EXPECTED
    assert mask.tolist() == _EXPECTED_MASK


def test_the_arguments_stay_as_they_were() -> None:
    before = [values.clone() for values in (_LABELS, _DENSITY, _MASK)]
    by_density(_LABELS, _DENSITY, 0.8, 10, _MASK)
    assert all(torch.equal(one, other) for one, other in zip(before, (_LABELS, _DENSITY, _MASK)))


def test_values_of_the_pool_alone_mean_the_same() -> None:
    pool = _MASK != 0
    labels, mask = by_density(_LABELS, _DENSITY[pool], 0.8, 10, _MASK)
    assert (labels.tolist(), mask.tolist()) == (_EXPECTED, _EXPECTED_MASK)
    labels, mask = by_density(_LABELS[pool], _DENSITY, 0.8, 10, _MASK)
    assert labels.tolist() == [10, -1, -1, 11, -1]
    assert mask.tolist() == _EXPECTED_MASK


def test_numpy_is_taken_and_the_dtypes_are_kept() -> None:
    labels, mask = by_density(_LABELS.numpy(), _DENSITY.numpy(), 0.8, 10, _MASK.to(torch.int8).numpy())
    assert (labels.tolist(), mask.tolist()) == (_EXPECTED, _EXPECTED_MASK)
    assert (labels.dtype, mask.dtype) == (torch.int64, torch.int8)


def test_an_image_in_no_cluster_is_never_selected() -> None:
    labels, mask = by_density(torch.tensor([-1, 0]), torch.ones(2), 0.5, 3, torch.tensor([2, 2]))
    assert (labels.tolist(), mask.tolist()) == ([-1, 3], [2, 1])


def test_nothing_gives_nothing() -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    labels, mask = by_density(empty, torch.zeros(0), 0.5, 3, empty)
    assert labels.shape == mask.shape == (0,)
    assert [len(values) for values in by_size(labels, mask, 2, 3, 3)] == [0, 0]
    assert not len(compacted(labels, 3))


def test_lengths_and_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels \(3,\): expected 7, the mask's, or the pool's 5"):
        by_density(torch.zeros(3, dtype=torch.int64), _DENSITY, 0.8, 10, _MASK)
    with pytest.raises(ValueError, match=r"density \(6,\)"):
        by_density(_LABELS, torch.zeros(6), 0.8, 10, _MASK)
    with pytest.raises(UserError, match="a mask holds 0"):
        by_density(_LABELS, _DENSITY, 0.8, 10, _MASK + 1)


def test_pseudo_classes_of_too_few_or_too_many_selected_images_wait() -> None:
    labels = torch.tensor([5, 5, 5, 6, 7, 7, -1, 1, 0])
    mask = torch.tensor([1, 1, 1, 1, 1, 1, 2, 1, 0])
    kept, kept_mask = by_size(labels, mask, min_size=2, max_size=2, offset=5)
    # The single image that joined the known class 1 and the labelled one stay.
    assert kept.tolist() == [-1, -1, -1, -1, 7, 7, -1, 1, 0]
    assert kept_mask.tolist() == [2, 2, 2, 2, 1, 1, 2, 1, 0]
    for one, other in zip(by_size(labels, mask, offset=5), (labels, mask)):
        assert torch.equal(one, other)


@pytest.mark.parametrize("sizes", [{"min_size": 0}, {"min_size": 3, "max_size": 2}])
def test_sizes_that_nothing_has_are_refused(sizes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="expected 1 <= min_size <= max_size"):
        by_size(_LABELS, _MASK, **sizes)


def test_pseudo_images_near_a_known_class_wait() -> None:
    labels, mask = torch.tensor([5, 5, 6, 1, 0, -1]), torch.tensor([1, 1, 1, 1, 0, 2])
    distance = torch.tensor([0.1, 0.2, 0.3, 0.0, 0.0, 0.0])
    kept, kept_mask = by_distance(labels, mask, distance, threshold=0.2, offset=5)
    assert (kept.tolist(), kept_mask.tolist()) == ([-1, 5, 6, 1, 0, -1], [2, 1, 1, 1, 0, 2])


def test_the_selected_images_of_a_joined_cluster_get_its_class() -> None:
    labels, mask = torch.tensor([5, 6, 6, 7, -1, 2]), torch.tensor([1, 1, 1, 1, 2, 0])
    found, found_mask = joined(labels, mask, torch.tensor([-1, 3, -1]), offset=5)
    assert found.tolist() == [5, 3, 3, 7, -1, 2]
    assert found_mask.tolist() == mask.tolist()
    assert compacted(found, 5).tolist() == [5, 3, 3, 6, -1, 2]
