"""A temperature on top of a recalibration changes no prediction, and makes its probabilities mean what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shelfmark.calibration import NearestClassMean, TauNorm, Temperature, Warmed
from shelfmark.calibration.comparison import held_out_predictions
from shelfmark.ops.calibration_metrics import reliability

NUM_CLASSES = 6


@pytest.fixture
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    """Features of length about 10, whose squared distances are far too sure of themselves."""
    rng = np.random.default_rng(0)
    means = 3 * rng.normal(size=(NUM_CLASSES, 8))
    labels = rng.integers(0, NUM_CLASSES, 600)
    return torch.from_numpy(means[labels] + 4 * rng.normal(size=(600, 8))), torch.from_numpy(labels)


def ece(method: object, features: torch.Tensor, labels: torch.Tensor) -> float:
    found = held_out_predictions(method, features, labels, NUM_CLASSES)  # type: ignore[arg-type]
    return reliability(found.confidence, found.hits).expected_error or 0.0


def test_class_means_get_probabilities_by_a_temperature(pictures: tuple[torch.Tensor, torch.Tensor]) -> None:
    features, labels = pictures
    means = NearestClassMean().fit(features[:300], labels[:300], NUM_CLASSES)
    warmed = Warmed(means).fit(features[300:], labels[300:])
    plain = Temperature().fit(means.logits(features[300:]), labels[300:])
    assert warmed.temperature_ == pytest.approx(plain.temperature_, rel=1e-6)
    assert warmed.fold_temperatures_ == pytest.approx(plain.fold_temperatures_, rel=1e-6)
    torch.testing.assert_close(warmed.logits(features), means.logits(features) / warmed.temperature_)
    before, after = (ece(method, features[300:], labels[300:]) for method in (means, warmed))
    assert before > 0.2
    assert after < 0.1


def test_a_class_without_images_is_never_chosen_and_teaches_nothing(
    pictures: tuple[torch.Tensor, torch.Tensor],
) -> None:
    features, labels = pictures
    seen = labels[:300] != 2
    means = NearestClassMean().fit(features[:300][seen], labels[:300][seen], NUM_CLASSES)
    warmed = Warmed(means).fit(features[300:], labels[300:])
    assert warmed.logits(features)[:, 2].isneginf().all()
    rest = labels[300:] != 2
    alone = means.logits(features[300:][rest])[:, [0, 1, 3, 4, 5]]
    renumbered = torch.tensor([0, 1, -1, 2, 3, 4])[labels[300:][rest]]
    assert warmed.temperature_ == pytest.approx(Temperature().fit(alone, renumbered).temperature_, rel=1e-6)


def test_each_image_is_held_out_of_the_method_and_of_the_temperature(
    pictures: tuple[torch.Tensor, torch.Tensor],
) -> None:
    features, labels = pictures
    weight = torch.randn(NUM_CLASSES, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    method = TauNorm([0.0, 1.0], folds=3, seed=1).fit(features, labels, weight)
    warmed = Warmed(method, folds=4, seed=2).fit(features, labels)
    parts = list(warmed.held_out(features, labels))
    assert sorted(torch.cat([rows for rows, _ in parts]).tolist()) == list(range(len(labels)))
    logits = torch.empty(len(labels), NUM_CLASSES, dtype=torch.float64)
    for rows, classifier in method.held_out(features, labels):
        logits[rows] = classifier.logits(features[rows]).double()
    found = {}
    for rows, classifier in parts:
        ratio = logits[rows] / classifier.logits(features[rows]).double()
        assert float(ratio.std()) < 1e-5
        for row in rows.tolist():
            found[row] = round(float(ratio.mean()), 4)
    assert set(found.values()) <= {round(one, 4) for one in warmed.fold_temperatures_}
