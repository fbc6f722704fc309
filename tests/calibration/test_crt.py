from __future__ import annotations

import numpy as np
import oracles_calibration as oracles
import pytest
import torch

from shelfmark.calibration import CRT
from shelfmark.core.errors import UserError


def _overlapping(num_images: int = 300, num_classes: int = 4, dim: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    centres = 1.5 * torch.randn(num_classes, dim, generator=generator)
    labels = (torch.rand(num_images, generator=generator).pow(2) * num_classes).long()
    return centres[labels] + torch.randn(num_images, dim, generator=generator), labels


def test_the_classifier_comes_close_to_the_least_class_balanced_loss() -> None:
    features, labels = _overlapping()
    fitted = CRT().fit(features, labels)
    logits = fitted.logits(features).double().numpy()
    least = oracles.balanced_nll(oracles.best_linear(features.numpy(), labels.tolist(), 4), labels.tolist())
    assert least <= oracles.balanced_nll(logits, labels.tolist()) < 1.001 * least < 0.5 * np.log(4)


def test_a_frequent_class_has_no_advantage() -> None:
    # Gaussians of width 1 around -1 and 1, 19 to 1: plain training has its border near ln(19) / 2 = 1.47.
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0] * 1900 + [1] * 100)
    features = torch.randn(2000, 1, generator=generator) + (2 * labels[:, None] - 1)
    fitted = CRT().fit(features, labels)
    border = -float((fitted.bias_[1] - fitted.bias_[0]) / (fitted.weight_[1] - fitted.weight_[0]))
    assert abs(border) < 0.3


def test_separate_classes_are_all_told_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(20, 64, generator=generator)
    labels = torch.arange(400) % 20
    features = centres[labels] + 0.3 * torch.randn(400, 64, generator=generator)
    fitted = CRT(min_steps=200).fit(features[:200], labels[:200])
    assert (fitted.logits(features[200:]).argmax(1) == labels[200:]).all()


def test_scale_and_origin_of_the_features_do_not_matter() -> None:
    features, labels = _overlapping()
    features = features.double()
    moved = 1000 * features + torch.tensor([5e4, 0, -300]).double()
    expected = CRT(min_steps=100).fit(features, labels).logits(features)
    found = CRT(min_steps=100).fit(moved, labels)
    assert found.weight_.dtype == torch.float64
    torch.testing.assert_close(found.logits(moved), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("num_classes", [2, 200])
def test_many_classes_are_learned_in_as_few_steps_as_two(num_classes: int) -> None:
    labels = torch.arange(1000) % num_classes
    features = torch.eye(num_classes)[labels]
    fitted = CRT(num_epochs=1, min_steps=60, batch_size=250).fit(features, labels)
    assert torch.nn.functional.cross_entropy(fitted.logits(features), labels) < 0.01


def test_the_same_seed_gives_the_same_classifier_and_no_global_generator_is_touched() -> None:
    case = _overlapping(60)
    state = torch.get_rng_state()
    first, again, other = (CRT(min_steps=20, seed=seed).fit(*case).weight_ for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_class_without_images_is_not_chosen() -> None:
    features, labels = _overlapping()
    fitted = CRT(min_steps=200).fit(features, 2 * labels, num_classes=8)
    assert fitted.weight_.shape == (8, 3)
    assert fitted.weight_.isfinite().all()
    assert not (fitted.logits(features).argmax(1) % 2).any()


def test_numpy_half_precision_and_unlabelled_rows_are_taken() -> None:
    features, labels = _overlapping(60)
    features = features.half()
    expected = CRT(min_steps=20).fit(features.float(), labels)
    with_others = np.concatenate([features.numpy(), np.full((2, 3), 1e4, dtype=np.float16)])
    found = CRT(min_steps=20).fit(with_others, np.append(labels.numpy(), [-1, -1]))
    assert found.weight_.dtype == torch.float32
    torch.testing.assert_close(found.weight_, expected.weight_)
    torch.testing.assert_close(found.bias_, expected.bias_)
    assert not found.weight_.requires_grad


def test_images_that_are_all_the_same_leave_the_classes_equal() -> None:
    fitted = CRT(min_steps=20).fit(torch.ones(8, 3), torch.arange(8) % 2)
    assert not fitted.weight_.any()
    assert fitted.bias_.abs().max() < 1


def test_bad_input_is_refused_with_its_reason() -> None:
    features, labels = _overlapping(20)
    with pytest.raises(ValueError, match="batch_size=0"):
        CRT(batch_size=0)
    with pytest.raises(UserError, match="outside the classifier's 2"):
        CRT().fit(features, labels, num_classes=2)
    with pytest.raises(ValueError, match="do not fit"):
        CRT().fit(features, labels[:9])
    with pytest.raises(UserError, match="crt: .* NaN"):
        CRT(min_steps=5).fit(features * torch.nan, labels)
