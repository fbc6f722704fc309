from __future__ import annotations

import math

import numpy as np
import oracles_calibration as oracles
import pytest
import torch

from shelfmark.calibration import LWS, calibrated
from shelfmark.core.errors import UserError


def _case(num_images: int = 300, num_classes: int = 5, dim: int = 6) -> tuple[torch.Tensor, ...]:
    """Long-tailed features that overlap, and a classifier whose rare classes have short rows."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(num_classes, dim, generator=generator)
    labels = (torch.rand(num_images, generator=generator).pow(3) * num_classes).long()
    features = centres[labels] + torch.randn(num_images, dim, generator=generator)
    weight = centres * torch.linspace(2, 0.3, num_classes)[:, None]
    return features, labels, weight, torch.randn(num_classes, generator=generator) * 0.1


@pytest.mark.parametrize("with_bias", [True, False])
def test_the_scales_come_close_to_the_least_class_balanced_loss(with_bias: bool) -> None:
    features, labels, weight, bias = _case()
    given_bias = bias if with_bias else None
    logits = torch.nn.functional.linear(features, weight, given_bias).double().numpy()
    fitted = LWS(lr=1.0).fit(features, labels, weight, given_bias)
    best = oracles.best_scales(logits, labels.tolist())
    least, before = (oracles.balanced_nll(scales * logits, labels.tolist()) for scales in (best, np.ones(5)))
    found = oracles.balanced_nll(fitted.scales_.numpy() * logits, labels.tolist())
    assert found - least < 0.002 * (before - least)
    np.testing.assert_allclose(fitted.scales_, best, rtol=0.03)
    assert fitted.scales_[-1] > 2 * fitted.scales_[0]


def test_the_defaults_take_most_of_the_way_there() -> None:
    features, labels, weight, bias = _case()
    logits = (features @ weight.T + bias).double().numpy()
    fitted = LWS().fit(features, labels, weight, bias)
    least, before = (
        oracles.balanced_nll(scales * logits, labels.tolist())
        for scales in (oracles.best_scales(logits, labels.tolist()), np.ones(5))
    )
    assert oracles.balanced_nll(fitted.logits(features).numpy(), labels.tolist()) - least < 0.02 * (before - least)


def test_a_scale_multiplies_the_row_and_its_bias() -> None:
    features, labels, weight, bias = _case()
    fitted = LWS(min_steps=50).fit(features, labels, weight, bias)
    torch.testing.assert_close(fitted.weight_, weight * fitted.scales_[:, None])
    torch.testing.assert_close(fitted.bias_, bias * fitted.scales_)
    torch.testing.assert_close(fitted.logits(features), (features @ weight.T + bias) * fitted.scales_)
    assert LWS(min_steps=50).fit(features, labels, weight).bias_ is None


def test_perfect_scales_stay() -> None:
    # Odds of three to one, said and true: the class-balanced loss has its minimum at scales of one.
    features = torch.tensor([[1.0, 0]] * 4 + [[0, 1]] * 4).repeat(100, 1)
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1, 0]).repeat(100)
    fitted = LWS(min_steps=200).fit(features, labels, math.log(3) * torch.eye(2))
    torch.testing.assert_close(fitted.scales_, torch.ones(2), rtol=0, atol=0.06)
    # Right and sure of all: nothing is left to gain.
    sure = LWS(min_steps=50).fit(torch.eye(3).repeat(20, 1), torch.arange(60) % 3, 100 * torch.eye(3))
    assert torch.equal(sure.scales_, torch.ones(3))


def test_the_scale_of_the_features_does_not_matter() -> None:
    features, labels, weight, bias = (part.double() if part.is_floating_point() else part for part in _case())
    expected = LWS(min_steps=100).fit(features, labels, weight, bias).scales_
    scaled = LWS(min_steps=100).fit(features * 1000, labels, weight / 1000, bias).scales_
    torch.testing.assert_close(scaled, expected)


def test_the_same_seed_gives_the_same_scales_and_no_global_generator_is_touched() -> None:
    case = _case()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, again, other = (LWS(min_steps=20, seed=seed).fit(*case).scales_ for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_numpy_blocks_and_unlabelled_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels, weight, bias = _case(90)
    expected = LWS(min_steps=20).fit(features, labels, weight, bias).scales_
    monkeypatch.setattr(calibrated, "_BLOCK_LOGITS", 5 * 13)
    with_others = torch.cat([features, torch.full((3, 6), 1e6)]).numpy()
    found = LWS(min_steps=20).fit(with_others, np.append(labels.numpy(), [-1] * 3), weight, bias).scales_
    torch.testing.assert_close(found, expected)


def test_a_trained_weight_is_copied_and_keeps_its_dtype() -> None:
    features, labels, weight, bias = _case(40)
    parameter = torch.nn.Parameter(weight.bfloat16())
    fitted = LWS(min_steps=5).fit(features, labels, parameter, torch.nn.Parameter(bias))
    assert fitted.weight_.dtype == torch.bfloat16
    assert fitted.scales_.dtype == torch.float32
    assert not any(part.requires_grad for part in (fitted.weight_, fitted.bias_, fitted.scales_))
    assert parameter.grad is None


def test_it_learns_where_gradients_are_switched_off_too() -> None:
    with torch.no_grad():
        fitted = LWS(min_steps=20).fit(*_case())
    assert not torch.equal(fitted.scales_, torch.ones(5))


def test_bad_input_is_refused_with_its_reason() -> None:
    features, labels, weight, bias = _case(20)
    for options in ({"num_epochs": 0}, {"min_steps": -1}, {"batch_size": 0}, {"lr": 0.0}, {"lr": math.nan}):
        name, value = next(iter(options.items()))
        with pytest.raises(ValueError, match=f"{name}={value}"):
            LWS(**options)
    with pytest.raises(UserError, match="outside the classifier's 5"):
        LWS().fit(features, labels + 5, weight, bias)
    with pytest.raises(ValueError, match=r"fit as \(N, 6\)"):
        LWS().fit(features[:, :5], labels, weight, bias)
    for broken in (torch.nan, torch.inf):
        with pytest.raises(UserError, match="NaN or infinity"):
            LWS().fit(features.index_fill(0, torch.tensor([1]), broken), labels, weight, bias)
