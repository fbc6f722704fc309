from __future__ import annotations

import numpy as np
import pytest

from shelfmark.discovery import products
from shelfmark.discovery.products import found_products, nearest_to_means, unit_means

AXES = np.eye(3)


def _found() -> products.FoundProducts:
    """Known class 0 on the first axis, class 1 without an image; pseudo-classes 2 and 3, and one image left out."""
    features = np.array([AXES[0], 5 * AXES[1], [0, 3, 4], AXES[2], AXES[2], AXES[0]]).astype(np.float32)
    labels, clusters = np.array([0, 2, 2, 3, 3, -1]), np.array([6, 4, 4, 1, -1, 6])
    density = np.array([0.9, 0.5, 0.7, 0.8, 0.55, 0.1], dtype=np.float32)
    return found_products(features, labels, clusters, density, np.array([AXES[0], [0, 0, 0]]))


def test_groups_are_the_selected_images_of_a_label_and_a_cluster() -> None:
    found = _found()
    assert list(zip(found.labels.tolist(), found.clusters.tolist())) == [(0, 6), (2, 4), (3, -1), (3, 1)]
    assert [rows.tolist() for rows in found.rows] == [[0], [2, 1], [4], [3]]
    assert found.cluster_sizes.tolist() == [2, 2, 1, 1]
    assert found.density == pytest.approx([0.9, 0.6, 0.55, 0.8])
    assert found.is_new.tolist() == [False, True, True, True]


def test_means_are_of_directions_and_cosines_are_those_worked_out_by_hand() -> None:
    found = _found()
    # Directions (0, 1, 0) and (0, 0.6, 0.8): their mean points to (0, 2, 1), whatever the lengths were.
    assert found.means[1] == pytest.approx(np.array([0, 2, 1]) / 5**0.5)
    assert found.cohesion[1] == pytest.approx(2 / 5**0.5)
    assert found.nearest_known.tolist() == [0, 0, 0, 0]
    assert found.known_cosine == pytest.approx([1, 0, 0, 0])
    assert found.nearest_other.tolist() == [1, 2, 3, 2]
    assert found.other_cosine == pytest.approx([0, 1 / 5**0.5, 1, 1])
    assert found.margin[1] == pytest.approx(1 / 5**0.5)


def test_rankings_are_of_new_products_and_of_joined_ones() -> None:
    found = _found()
    assert found.largest().tolist() == [1, 2, 3]
    assert found.densest().tolist() == [3, 1, 2]
    assert found.most_doubtful().tolist() == [2, 3, 1]
    assert found.joined().tolist() == [0]


def test_products_of_one_size_keep_their_order() -> None:
    density = np.random.default_rng(0).integers(0, 2, 400).astype(float)
    labels = np.arange(len(density))
    found = found_products(np.tile(AXES[:1], (len(density), 1)), labels, labels, density, np.empty((0, 3)))
    assert found.largest().tolist() == labels.tolist()
    assert found.densest().tolist() == [*np.flatnonzero(density == 1), *np.flatnonzero(density == 0)]


def test_without_known_classes_and_without_company_nothing_is_nearest() -> None:
    found = found_products(AXES, np.array([0, -1, -1]), np.zeros(3, np.int64), np.ones(3), np.empty((0, 3)))
    assert (found.nearest_known.tolist(), found.nearest_other.tolist()) == ([-1], [-1])
    assert found.margin == pytest.approx([1])
    empty = found_products(AXES, np.full(3, -1), np.zeros(3, np.int64), np.ones(3), AXES[:1])
    assert len(empty) == len(empty.largest()) == len(empty.joined()) == len(empty.num_images) == 0


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    features, groups, rows = generator.normal(size=(50, 4)), generator.integers(0, 6, 40), np.arange(5, 45)
    means = unit_means(features, rows, groups, 7)
    nearest = nearest_to_means(features, rows, groups, means)
    monkeypatch.setattr(products, "_BLOCK_ROWS", 3)
    assert unit_means(features, rows, groups, 7) == pytest.approx(means)
    assert nearest_to_means(features, rows, groups, means).tolist() == nearest.tolist()
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    for group in range(6):
        members = rows[groups == group]
        assert nearest[group] == members[np.argmax(units[members] @ means[group])]
    assert not means[6].any()
    assert nearest[6] == -1
