"""One image of each class as the gallery, drawn again and again."""

from __future__ import annotations

import numpy as np
import pytest

from shelfmark.core.errors import UserError
from shelfmark.evaluation.drawn_galleries import drawn_gallery_scores, one_of_each


def clustered(seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.repeat([-1, 0, 1, 2, 3, 4], [3, 1, 2, 5, 9, 4]))
    centres = generator.normal(size=(6, 5))
    return (centres[labels] + generator.normal(0, 0.8, (len(labels), 5))).astype(np.float64), labels


def test_scores_are_the_means_over_galleries_of_a_search_written_out() -> None:
    features, labels = clustered(1)
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    hits: dict[int, list[float]] = {1: [], 2: []}
    precisions = []
    for draw in range(4):
        gallery = one_of_each(labels, 7, draw)
        assert labels[gallery].tolist() == [0, 1, 2, 3, 4]
        places = []
        for row in range(len(labels)):
            if labels[row] < 0 or row in gallery:
                continue
            ranking = sorted(range(5), key=lambda place: -float(units[row] @ units[gallery[place]]))
            places.append(1 + ranking.index(labels[row]))
        for k, shares in hits.items():
            shares.append(float(np.mean([place <= k for place in places])))
        precisions.append(float(np.mean([1 / place for place in places])))
    found = drawn_gallery_scores(features, labels, [1, 2], num_draws=4, seed=7)
    expected = {
        "drawn_recall@1": np.mean(hits[1]),
        "drawn_recall@1_std": np.std(hits[1], ddof=1),
        "drawn_recall@2": np.mean(hits[2]),
        "drawn_recall@2_std": np.std(hits[2], ddof=1),
        "drawn_map": np.mean(precisions),
        "drawn_map_std": np.std(precisions, ddof=1),
        "num_gallery_draws": 4,
    }
    assert found == pytest.approx(expected)


def test_every_image_of_a_class_may_be_its_gallery_and_the_seed_decides() -> None:
    labels = np.repeat([3, 8], [4, 6])
    drawn = np.array([one_of_each(labels, 0, draw) for draw in range(100)])
    assert np.unique(drawn[:, 0]).tolist() == [0, 1, 2, 3]
    assert np.unique(drawn[:, 1]).tolist() == [4, 5, 6, 7, 8, 9]
    # Expected 25 and 16.7 times each.
    assert np.bincount(drawn.ravel()).min() >= 5
    assert np.array_equal(one_of_each(labels, 0, 5), drawn[5])
    assert any(not np.array_equal(one_of_each(labels, 1, draw), drawn[draw]) for draw in range(5))


def test_a_single_draw_has_no_deviation_and_classes_of_one_image_no_score() -> None:
    features, labels = clustered(2)
    assert drawn_gallery_scores(features, labels, [1], num_draws=1)["drawn_recall@1_std"] is None
    alone = drawn_gallery_scores(features[:3], np.arange(3), [1])
    assert (alone["drawn_recall@1"], alone["drawn_map"]) == (None, None)
    nobody = drawn_gallery_scores(features[:3], np.full(3, -1), [1])
    assert nobody["drawn_recall@1"] is None
    with pytest.raises(UserError, match="num_draws=0"):
        drawn_gallery_scores(features, labels, [1], num_draws=0)
