"""Whitening by the variance inside classes, against numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from damage import flipped_bits

from shelfmark.core.errors import UserError
from shelfmark.discovery.whitening import FILE, load_whitening, save_whitening, whiten_features, within_class_whitening

CLASSES, IMAGES, DIM = 24, 7, 5


def noisy_classes(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Classes that differ in the first directions, and images that differ by far the most in the last."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((CLASSES, DIM)) * [0.5, 0.5, 0.5, 0.5, 0]
    labels = np.repeat(np.arange(CLASSES), IMAGES)
    rows = centres[labels] + generator.standard_normal((len(labels), DIM)) * [0.1, 0.1, 0.1, 0.1, 4]
    return torch.from_numpy(rows), torch.from_numpy(labels)


def by_numpy(features: np.ndarray, labels: np.ndarray, shrinkage: float) -> np.ndarray:
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    residuals = unit.copy()
    for label in np.unique(labels):
        residuals[labels == label] -= unit[labels == label].mean(axis=0)
    covariance = residuals.T @ residuals / (len(unit) - 1)
    shrunk = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / DIM * np.eye(DIM)
    return (unit - unit.mean(axis=0)) @ np.linalg.inv(shrunk) @ (unit - unit.mean(axis=0)).T


def nearest_is_of_the_class(features: torch.Tensor, labels: torch.Tensor) -> float:
    unit = torch.nn.functional.normalize(features)
    return float((labels[(unit @ unit.T).fill_diagonal_(-2).argmax(1)] == labels).double().mean())


@pytest.mark.parametrize("shrinkage", [0.1, 0.5])
def test_products_are_those_under_the_inverse_covariance_inside_classes(shrinkage: float) -> None:
    features, labels = noisy_classes()
    found = whiten_features(within_class_whitening(features, labels, shrinkage), features).numpy()
    assert found @ found.T == pytest.approx(by_numpy(features.numpy(), labels.numpy(), shrinkage), abs=1e-9)


def test_what_differs_inside_classes_counts_for_less_so_neighbours_are_of_a_class_more_often() -> None:
    features, labels = noisy_classes()
    others, truth = noisy_classes(seed=1)
    found = whiten_features(within_class_whitening(features, labels), others)
    assert nearest_is_of_the_class(found, truth) > nearest_is_of_the_class(others, truth) + 0.1


def test_images_without_a_label_teach_nothing() -> None:
    features, labels = noisy_classes()
    more = torch.cat([features, torch.full((3, DIM), 9.0, dtype=torch.float64)])
    found = within_class_whitening(more, torch.cat([labels, torch.full((3,), -1)]))
    alone = within_class_whitening(features, labels)
    assert torch.equal(whiten_features(found, features), whiten_features(alone, features))


def test_fewer_images_than_dimensions_leave_every_direction() -> None:
    features = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    assert whiten_features(within_class_whitening(features, torch.tensor([0, 0, 1, 1])), features).shape == (4, 9)


def test_a_saved_whitening_gives_the_same_vectors(tmp_path: Path) -> None:
    features, labels = noisy_classes()
    whitening = within_class_whitening(features, labels)
    assert load_whitening(tmp_path) is None
    save_whitening(tmp_path, whitening)
    assert torch.equal(whiten_features(load_whitening(tmp_path), features), whiten_features(whitening, features))


def test_no_class_with_two_images_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(UserError, match=r"of the 3 labelled classes none has two images.*whiten=false"):
        within_class_whitening(torch.eye(3), torch.arange(3))


def test_any_damaged_byte_is_found_or_changes_no_number(tmp_path: Path) -> None:
    features, labels = noisy_classes()
    written = within_class_whitening(features, labels)
    save_whitening(tmp_path, written)
    found = 0
    for damaged in flipped_bits((tmp_path / FILE).read_bytes(), 120):
        (tmp_path / FILE).write_bytes(damaged)
        try:
            read = load_whitening(tmp_path)
        except UserError:
            found += 1
            continue
        assert torch.equal(whiten_features(read, features), whiten_features(written, features))
    assert found > 100


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no tensors")
    with pytest.raises(UserError, match="is damaged.*Fit the clusterer again"):
        load_whitening(tmp_path)
