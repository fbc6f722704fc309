from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.calibration.folds import choose_by_folds, fold_rows, labelled, require_folds, stratified_folds
from shelfmark.core.errors import UserError


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), num_images=st.integers(1, 60), folds=st.integers(2, 7))
def test_folds_are_even_in_all_and_within_every_class(seed: int, num_images: int, folds: int) -> None:
    labels = np.random.default_rng(seed).integers(4, size=num_images)
    fold = stratified_folds(labels, folds, seed)
    for part in (fold, *(fold[labels == label] for label in range(4))):
        sizes = np.bincount(part, minlength=folds)
        assert sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(fold, stratified_folds(labels, folds, seed))


def test_the_folds_of_a_seed_stay_the_same() -> None:
    # A saved result can be looked into later only as long as nothing moves these.
    assert stratified_folds(np.array([0, 0, 0, 1, 1, 1, 2, 2]), 3, 0).tolist() == [2, 0, 1, 2, 0, 1, 0, 1]


def test_the_rows_of_the_folds_are_the_labelled_rows_each_once() -> None:
    labels = np.array([1, -1, 0, 0, 1, -1, 1, 0])
    parts = fold_rows(labels, 3, 7)
    assert torch.cat(parts).sort().values.tolist() == [0, 2, 3, 4, 6, 7]
    fold = stratified_folds(labels[labels >= 0], 3, 7)
    assert [part.tolist() for part in parts] == [np.flatnonzero(labels >= 0)[fold == n].tolist() for n in range(3)]


def test_the_rule_takes_the_greatest_mean_class_accuracy_and_of_equal_ones_the_first() -> None:
    # Class 0 has four images, class 1 two. The second is right on more images, the third on more of each class.
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    hits = torch.tensor([[1, 0, 0, 0, 1, 0], [1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]]).bool()
    assert choose_by_folds(hits, labels, 2, 0).best == 2


def test_scores_that_differ_by_their_rounding_alone_are_equal() -> None:
    # The classes' accuracies are the same numbers in another order.
    labels = torch.arange(70) % 7
    place = torch.arange(70) // 7
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        orders = (torch.randperm(7, generator=generator) for _ in range(2))
        hits = torch.stack([place < order[labels] for order in orders])
        assert choose_by_folds(hits, labels, 2, 0).best == 0


def test_an_image_counts_as_right_by_the_winner_of_the_other_folds() -> None:
    # Each candidate is right on one fold alone: away from it the other one wins, and is wrong on it.
    labels = torch.tensor([0, 0, 1, 1])
    fold = torch.from_numpy(stratified_folds(labels.numpy(), 2, 0))
    choice = choose_by_folds(torch.stack([fold == 0, fold == 1]), labels, 2, 0)
    assert choice.fold_winners == [1, 0]
    assert choice.best == 0
    assert not choice.held_out_hits.any()
    assert choose_by_folds(torch.stack([fold == 2, fold < 2]), labels, 2, 0).held_out_hits.all()


def test_unlabelled_rows_are_left_out_of_tensors_and_arrays_alike() -> None:
    features = torch.arange(8.0).reshape(4, 2)
    for given_features in (features, features.numpy()):
        kept, labels = labelled(given_features, [3, -1, 0, -1], 2, 4, "test")
        assert kept.tolist() == [[0, 1], [4, 5]]
        assert labels.tolist() == [3, 0]
        assert type(kept) is type(given_features)
    with pytest.raises(ValueError, match=r"features \(4, 2\) and labels \(3,\) do not fit as \(N, D\)"):
        labelled(features, [0, 1, 2], None, None, "test")


@pytest.mark.parametrize(
    ("num_images", "advice"),
    [(3, "Set calibrate.folds=3, or give more images."), (2, "Set calibrate.folds=2, or"), (1, "Give more images.")],
)
def test_too_few_images_for_the_folds_names_the_option_and_what_would_do(num_images: int, advice: str) -> None:
    with pytest.raises(UserError, match=re.escape(advice)):
        require_folds(torch.zeros(num_images, dtype=torch.long), 5, "the temperature", "calibrate.folds")
