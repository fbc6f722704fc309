"""The chain of post-processing: whom each step moves, and what it scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles_rerank import expanded, k_reciprocal_distances

from shelfmark.core.errors import UserError
from shelfmark.evaluation import post_processing, retrieval
from shelfmark.evaluation.post_processing import (
    check_steps,
    database_augmented,
    of_length_1,
    plain_scores,
    query_expanded,
    reranked_scores,
    whiten_query_gallery,
)
from shelfmark.retrieval.query_gallery import QueryGallery
from shelfmark.retrieval.whitening import PCAWhitening


def catalogue(num_images: int = 60, num_classes: int = 12) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = generator.integers(num_classes, size=num_images)
    labels[:3] = -1
    features = generator.normal(size=(num_classes, 8))[labels] + generator.normal(0, 0.8, (num_images, 8))
    return features, labels


def searched(*sides: np.ndarray, **ids: np.ndarray) -> QueryGallery:
    return of_length_1(QueryGallery.of(*sides, **ids))


def units(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def scored_by_hand(
    distances: np.ndarray, labels: np.ndarray, others: np.ndarray, is_own: np.ndarray
) -> dict[str, float]:
    """Recall@1 and mAP of the labelled queries with a positive, by sorting each row."""
    first, precisions = [], []
    for row, label in enumerate(labels):
        places = sorted(
            (place for place in range(len(others)) if not is_own[row, place]), key=lambda one: distances[row, one]
        )
        hits = np.array([others[place] == label for place in places])
        if label >= 0 and hits.any():
            first.append(hits[0])
            ranks = np.flatnonzero(hits) + 1
            precisions.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    return {"recall@1": float(np.mean(first)), "map": float(np.mean(precisions))}


def test_plain_scores_are_those_of_the_evaluation() -> None:
    features, labels = catalogue()
    wanted = retrieval.scores(features, labels, [1])
    assert plain_scores(searched(features, labels)) == {name: wanted[name] for name in ("recall@1", "map")}
    wanted = retrieval.scores(features[:20], labels[:20], [1], features[20:], labels[20:])
    found = plain_scores(searched(features[:20], labels[:20], features[20:], labels[20:]))
    assert found == {name: wanted[name] for name in ("recall@1", "map")}


@pytest.mark.parametrize("block", [1 << 23, 100])
def test_reranked_scores_of_a_set_in_itself_count_each_image_once(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post_processing, "_BLOCK_DISTANCES", block)
    features, labels = catalogue()
    whole = np.stack([_one_row(features, row) for row in range(60)])
    wanted = scored_by_hand(whole, labels, labels, np.eye(60, dtype=bool))
    assert reranked_scores(searched(features, labels), k1=7, k2=3) == pytest.approx(wanted)


def _one_row(features: np.ndarray, row: int) -> np.ndarray:
    """One image's distances to all, with that image moved to the front: an image's place changes no tie here."""
    order = [row, *(other for other in range(len(features)) if other != row)]
    distances = np.zeros(len(features))
    distances[order[1:]] = k_reciprocal_distances(features[order[:1]], features[order[1:]], 7, 3, 0.3, False)[0]
    return distances


def test_reranked_scores_between_two_sides_leave_out_a_query_that_stands_in_the_gallery() -> None:
    features, labels = catalogue()
    query, gallery = np.arange(20), np.arange(15, 60)
    sides = searched(
        features[query], labels[query], features[gallery], labels[gallery], query_ids=query, gallery_ids=gallery
    )
    is_own = query[:, None] == gallery
    whole = np.stack([_one_row(features, row) for row in query])[:, gallery]
    wanted = scored_by_hand(whole, labels[query], labels[gallery], is_own)
    assert reranked_scores(sides, k1=7, k2=3) == pytest.approx(wanted)


def test_query_expansion_moves_both_sides_and_augmentation_the_gallery_alone() -> None:
    features, labels = catalogue()
    sides = searched(features[:20], labels[:20], features[20:], labels[20:])
    moved = query_expanded(sides)
    wanted = units(expanded(units(features), 3.0, 5))
    np.testing.assert_allclose(torch.cat([moved.query, moved.gallery]).numpy(), wanted, atol=1e-12)
    moved = database_augmented(sides)
    assert torch.equal(moved.query, sides.query)
    np.testing.assert_allclose(moved.gallery.numpy(), units(expanded(units(features[20:]), 3.0, 5)), atol=1e-12)


def test_a_set_that_was_searched_in_itself_is_two_sides_once_one_of_them_moved() -> None:
    features, labels = catalogue()
    moved, rows = database_augmented(searched(features, labels)), np.arange(60)
    wanted = retrieval.scores(moved.query, labels, [1], moved.gallery, labels, query_ids=rows, gallery_ids=rows)
    assert plain_scores(moved) == {name: wanted[name] for name in ("recall@1", "map")}


def test_an_image_on_both_sides_is_one_image_to_its_neighbours() -> None:
    features, labels = catalogue()
    rows = np.arange(60)
    moved = query_expanded(
        searched(features[:20], labels[:20], features, labels, query_ids=rows[:20], gallery_ids=rows)
    )
    wanted = units(expanded(units(features), 3.0, 5))
    np.testing.assert_allclose(moved.query.numpy(), wanted[:20], atol=1e-12)
    np.testing.assert_allclose(moved.gallery.numpy(), wanted, atol=1e-12)


def test_whitening_learns_from_the_gallery_alone() -> None:
    features, labels = catalogue()
    found = whiten_query_gallery(searched(features[:20], labels[:20], features[20:], labels[20:]), dim=4)
    learned = PCAWhitening(4, 0.1).fit(units(features[20:]))
    np.testing.assert_allclose(found.query.numpy(), units(learned.transform(units(features[:20]))), atol=1e-12)
    assert found.gallery.shape == (40, 4)


def test_without_a_positive_there_is_no_score() -> None:
    features = np.eye(3)
    assert reranked_scores(searched(features, np.array([0, 1, 2]))) == {"recall@1": None, "map": None}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (["flop"], "Did you mean 'flip'"),
        (["dba", "dba"], "stands twice"),
        (["alpha_qe", "flip"], "they come first"),
        (["k_reciprocal", "dba"], "it comes last"),
    ],
)
def test_steps_that_cannot_follow_each_other_are_refused(steps: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_steps(steps)


def test_steps_may_be_left_out() -> None:
    for steps in ([], ["scales", "flip", "dba", "whiten", "k_reciprocal"], ["k_reciprocal"]):
        assert check_steps(steps) == steps
