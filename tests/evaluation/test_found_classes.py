"""Scores of a selection, against cases worked out by hand and a definition in plain loops that shares no line."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from shelfmark.evaluation.found_classes import (
    cluster_scores,
    known_first,
    new_class_scores,
    selection_counts,
    selection_scores,
    size_histogram,
)

# Known classes 0 and 1, new classes 2 and 3. Image 1 was missed, image 3 joined to the wrong class.
TRUE = np.array([0, 0, 1, 1, 2, 2, 2, 3, 3, -1])
LABELS = np.array([0, -1, 2, 0, 2, 2, 3, 3, -1, 3])
CLUSTERS = np.array([0, 0, 1, 0, 1, 1, 2, 2, 2, 2])


def test_known_classes_are_numbered_first_in_their_own_order() -> None:
    found = known_first(np.array([7, 2, 0, -1, 9]), [9, 2])
    assert found.tolist() == [9, 1, 2, -1, 0]
    assert known_first(np.array([3, -1]), []).tolist() == [3, -1]


def test_counts_need_no_truth() -> None:
    assert selection_counts(LABELS, 2) == {
        "num_images": 10,
        "num_selected": 8,
        "coverage": 0.8,
        "num_joined": 2,
        "num_joined_classes": 1,
        "num_pseudo": 6,
        "num_pseudo_classes": 2,
    }


def test_precision_and_coverage_by_origin_are_those_worked_out_by_hand() -> None:
    found = selection_scores(TRUE, LABELS, 2)
    # Pseudo-class 2 holds 1 2 2 and stands for 2; pseudo-class 3 holds 2 3 and stands for the lower, 2.
    assert found["known"] == {
        "num_images": 4,
        "num_selected": 3,
        "coverage": 0.75,
        "num_joined": 2,
        "num_joined_classes": 1,
        "num_pseudo": 1,
        "num_pseudo_classes": 1,
        "precision": pytest.approx(1 / 3),
        "joined_precision": 0.5,
        "pseudo_purity": 0.0,
        "pairwise_precision": 0.0,
    }
    assert "joined_precision" not in found["new"]
    assert found["new"]["precision"] == pytest.approx(3 / 4)
    assert found["new"]["coverage"] == pytest.approx(4 / 5)
    assert found["all"]["precision"] == pytest.approx(4 / 7)
    assert found["all"]["pseudo_purity"] == pytest.approx(3 / 5)
    # Of the pairs 0-1, 1-2 1-2 2-2 and 2-3 one is right.
    assert found["all"]["pairwise_precision"] == pytest.approx(1 / 5)


def test_a_new_class_is_found_where_a_pseudo_class_stands_for_it() -> None:
    assert new_class_scores(TRUE, LABELS, 2) == {
        "num_new_classes": 2,
        "num_new_classes_found": 1,
        "new_classes_found": 0.5,
        "num_pseudo_classes_of_new": 2,
        "num_pseudo_classes_of_known": 0,
        "pseudo_classes_per_found": 2.0,
    }
    of_known = new_class_scores(np.array([1, 1, 2]), np.array([5, 5, -1]), 2)
    assert (of_known["num_pseudo_classes_of_known"], of_known["num_new_classes_found"]) == (1, 0)
    assert of_known["pseudo_classes_per_found"] is None


@pytest.mark.parametrize("seed", range(4))
def test_scores_agree_with_plain_loops(seed: int) -> None:
    generator = np.random.default_rng(seed)
    true, labels = generator.integers(-1, 7, 60), generator.integers(-1, 9, 60)
    found = selection_scores(true, labels, 3)
    for origin, is_inside in (("known", lambda y: y < 3), ("new", lambda y: y >= 3), ("all", lambda y: True)):
        pairs = [(int(y), int(p)) for y, p in zip(true, labels) if y >= 0]
        inside = [pair for pair in pairs if is_inside(pair[0])]
        stands = {}
        for label in {p for _, p in pairs if p >= 3}:
            counts = Counter(y for y, p in pairs if p == label)
            stands[label] = min(y for y, count in counts.items() if count == max(counts.values()))
        selected = [(y, p) for y, p in inside if p >= 0]
        right = [(stands[p] if p >= 3 else p) == y for y, p in selected]
        together = [a[0] == b[0] for a, b in combinations(selected, 2) if a[1] == b[1]]
        assert found[origin]["precision"] == pytest.approx(np.mean(right))
        assert found[origin]["coverage"] == pytest.approx(len(selected) / len(inside))
        assert found[origin]["pairwise_precision"] == pytest.approx(np.mean(together))


def test_the_order_of_images_and_the_numbers_of_clusters_do_not_matter() -> None:
    order = np.random.default_rng(0).permutation(len(TRUE))
    renamed = np.where(LABELS >= 2, 105 - LABELS, LABELS)
    for score in (selection_scores, new_class_scores):
        assert score(TRUE[order], renamed[order], 2) == score(TRUE, LABELS, 2)
    moved = cluster_scores(TRUE[order], renamed[order], (CLUSTERS * 31 % 7)[order], 2)
    for origin, scores in cluster_scores(TRUE, LABELS, CLUSTERS, 2).items():
        assert moved[origin] == pytest.approx(scores)


def test_clusters_are_scored_by_the_origin_of_their_images() -> None:
    found = cluster_scores(TRUE, LABELS, CLUSTERS, 2)
    # New images: clusters 1 1 2 2 2 of classes 2 2 2 3 3. Right pairs: one of one, and one of three.
    assert found["new"]["pairwise_precision"] == pytest.approx(2 / 4)
    assert found["new"]["pairwise_recall"] == pytest.approx(2 / 4)
    assert (found["new"]["num_images"], found["new"]["num_clusters"]) == (5, 2)
    assert found["selected"]["num_images"] == 7
    unclustered = cluster_scores(TRUE, LABELS, np.full(10, -1), 2)
    assert unclustered["all"]["num_images"] == 0
    assert unclustered["all"]["nmi"] is None


def test_of_nothing_every_share_is_none() -> None:
    none = np.array([], dtype=np.int64)
    for scores in selection_scores(none, none, 2).values():
        assert all(value in (0, None) for value in scores.values())
    assert new_class_scores(none, none, 2)["new_classes_found"] is None
    assert selection_counts(none, 2)["coverage"] is None
    assert size_histogram(none, none.astype(bool)) == {
        "num_clusters": 0,
        "largest": None,
        "median": None,
        "mean": None,
        "bins": [],
    }


def test_sizes_are_counted_in_doubling_bins() -> None:
    clusters = np.array([5, 9, 9, 9, 2, 2, 2, 2, -1, -1])
    selected = np.array([0, 1, 1, 0, 1, 0, 0, 0, 1, 0], dtype=bool)
    found = size_histogram(clusters, selected)
    assert (found["num_clusters"], found["largest"], found["median"]) == (3, 4, 3.0)
    assert found["mean"] == pytest.approx(8 / 3)
    assert [tuple(one.values()) for one in found["bins"]] == [
        (1, 1, 1, 1, 0, 0),
        (2, 3, 1, 3, 1, 2),
        (4, 7, 1, 4, 1, 1),
    ]
