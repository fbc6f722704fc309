"""Doubtful labels: beside a loop that fits everything anew, and by properties."""

from __future__ import annotations

import numpy as np
import oracles_suspects as oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfmark.cleaning import suspects as module
from shelfmark.cleaning.suspects import WEAK_BELOW, Suspects, find_suspects, images_to_leave
from shelfmark.core.errors import UserError


def clouds(num_classes: int = 6, per_class: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images around the mean of their class, in 8 dimensions, far from the origin."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(num_classes), per_class)
    means = generator.normal(size=(num_classes, 8))
    return (means[labels] + 0.2 * generator.normal(size=(len(labels), 8)) + 5).astype(np.float32), labels


def test_every_margin_is_that_of_a_fit_without_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    # Several ragged blocks; a class number without images; an image without a label; classes of 2 to 12 images.
    monkeypatch.setattr(module, "_BLOCK_SCORES", 8 * 7)
    features, labels = clouds()
    features, labels = features[10:], np.where(labels >= 3, labels + 1, labels)[10:]
    labels[[5, 20, 21]] = [-1, 1, 4]
    found = find_suspects(features, labels, ridge=0.3)
    judged = labels >= 0
    vectors, own = oracle.unit_vectors(features, labels), labels[judged]
    by_prototype = [oracle.prototype_margin(vectors, own, row) for row in range(len(own))]
    by_ridge = [oracle.ridge_margin(vectors, own, row, ridge=0.3) for row in range(len(own))]
    prototype = oracle.parts(np.array([margin for margin, _ in by_prototype]))
    confidence = oracle.parts(np.array([margin for margin, _ in by_ridge]))
    np.testing.assert_array_equal(found.judged, judged)
    np.testing.assert_allclose(found.prototype[judged], prototype, atol=1e-5)
    np.testing.assert_allclose(found.confidence[judged], confidence, atol=1e-5)
    np.testing.assert_allclose(found.suspicion[judged], (prototype + confidence) / 2, atol=1e-5)
    others = np.array([[label for _, label in judge] for judge in (by_prototype, by_ridge)])
    np.testing.assert_array_equal(found.suggested[judged], np.where(prototype >= confidence, *others))
    np.testing.assert_array_equal(found.agreed[judged], others[0] == others[1])
    assert 0 < found.agreed.sum() < judged.sum()


def test_planted_wrong_labels_come_first_and_their_class_is_suggested() -> None:
    features, true_labels = clouds()
    labels = true_labels.copy()
    wrong = [3, 17, 40, 66]
    labels[wrong] = (labels[wrong] + 2) % 6
    found = find_suspects(features, labels)
    assert sorted(found.ranking[:4]) == wrong
    np.testing.assert_array_equal(found.suggested[wrong], true_labels[wrong])
    assert found.agreed[wrong].all()
    assert np.flatnonzero(images_to_leave(found, keep_accuracy=0.95)).tolist() == wrong


def test_the_accuracy_is_that_of_the_better_judge_and_low_where_an_embedding_says_nothing() -> None:
    labels, judged = np.array([0, 0, 1, 1, 2]), np.array([True, True, True, True, False])
    prototype, confidence = np.array([0.2, 0.6, 0.5, 0.9, 0.0]), np.array([0.2, 0.3, 0.7, 0.4, 0.0])
    assert Suspects(labels, judged, prototype, confidence, labels, judged).accuracy == 0.75
    assert Suspects(labels, ~judged[[0] * 5], prototype, confidence, labels, judged).accuracy == 0
    features, labels = clouds()
    noise = np.random.default_rng(1).standard_normal(features.shape).astype(np.float32)
    assert find_suspects(noise, labels).accuracy < 0.4 < WEAK_BELOW < 0.9 < find_suspects(features, labels).accuracy


def test_the_only_image_of_a_class_and_one_without_a_label_are_no_suspects() -> None:
    features, labels = clouds()
    labels[7], labels[8] = 9, -1
    found = find_suspects(features, labels)
    for row in (7, 8):
        assert not found.judged[row]
        assert row not in found.ranking
        assert (found.prototype[row], found.confidence[row], found.suspicion[row]) == (0, 0, 0)
        assert found.suggested[row] == labels[row]
        assert not found.agreed[row]
    assert len(found.ranking) == len(labels) - 2


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_the_order_of_images_the_names_of_classes_and_the_scale_do_not_matter(seed: int, scale: float) -> None:
    features, labels = clouds(seed=seed)
    labels[::9] = (labels[::9] + 1) % 6
    generator = np.random.default_rng(seed)
    order, names = generator.permutation(len(labels)), generator.permutation(50)[:6]
    found = find_suspects(features, labels)
    other = find_suspects(np.float32(scale) * features[order], names[labels[order]])
    np.testing.assert_allclose(other.suspicion, found.suspicion[order], atol=1e-4)
    np.testing.assert_array_equal(other.suggested, names[found.suggested[order]])


def test_features_that_are_all_the_same_are_suspected_of_nothing_and_stay_finite() -> None:
    found = find_suspects(np.ones((6, 3), dtype=np.float32), np.array([0, 0, 0, 1, 1, 1]))
    assert np.isfinite(found.suspicion).all()
    assert not images_to_leave(found).any()


@pytest.mark.parametrize(
    ("features", "labels", "ridge", "error", "message"),
    [
        (np.ones((3, 2)), np.array([0, 1]), 0.1, ValueError, r"\(3, 2\) and labels \(2,\)"),
        (np.ones((2, 2)), np.array([0, 1]), 0.0, ValueError, "ridge=0.0 must be above 0"),
        (np.ones((3, 2)), np.array([4, 4, -1]), 0.1, UserError, "fewer than two classes"),
        (np.array([[1.0], [np.nan]]), np.array([0, 1]), 0.1, UserError, "hold NaN or infinity"),
    ],
)
def test_what_cannot_be_judged_is_refused(
    features: np.ndarray, labels: np.ndarray, ridge: float, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        find_suspects(features, labels, ridge=ridge)


def judged(labels: list[int], confidence: list[float], prototype: list[float] | None = None) -> Suspects:
    """Suspects by hand; both judges say the same where `prototype` is not given."""
    own, doubt = np.array(labels), np.array(confidence)
    return Suspects(own, own >= 0, np.array(prototype or confidence), doubt, own, own >= 0)


def test_a_class_that_is_mostly_right_keeps_all_its_images() -> None:
    # 12 of 13 right: 0.923. In class 1, 11 of 12 right: 0.917.
    labels = [0] * 13 + [1] * 12
    doubt = [0.99] + [0.1] * 12 + [0.99] + [0.1] * 11
    assert np.flatnonzero(images_to_leave(judged(labels, doubt))).tolist() == [13]
    assert np.flatnonzero(images_to_leave(judged(labels, doubt), keep_accuracy=0.93)).tolist() == [0, 13]
    assert not images_to_leave(judged(labels, doubt), keep_accuracy=0.9).any()


def test_an_accuracy_of_exactly_the_limit_keeps_the_class() -> None:
    labels, doubt = [0] * 25, [0.99] * 2 + [0.1] * 23
    assert not images_to_leave(judged(labels, doubt), keep_accuracy=0.92).any()


def test_a_class_keeps_its_least_suspicious_image() -> None:
    leaves = images_to_leave(judged([0, 0, 0, 1, 1], [0.9, 0.8, 0.95, 0.9, 0.2]))
    assert leaves.tolist() == [True, False, True, True, False]


def test_only_images_that_are_wrong_and_suspicious_enough_leave() -> None:
    # The third: the classifier finds it right. The fourth: suspicion (0.55 + 0.75) / 2 = 0.65.
    suspects = judged([0, 0, 0, 0], [0.2, 0.9, 0.4, 0.55], [0.2, 0.9, 0.99, 0.75])
    assert images_to_leave(suspects, min_suspicion=0.7).tolist() == [False, True, False, False]
    assert images_to_leave(suspects, min_suspicion=0.6).tolist() == [False, True, False, True]


def test_images_without_a_label_or_alone_in_their_class_stay() -> None:
    suspects = judged([-1, 5, 2, 2], [0.9, 0.0, 0.9, 0.1])
    assert images_to_leave(suspects).tolist() == [False, False, True, False]
