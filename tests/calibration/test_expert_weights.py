"""Weights of experts from two views of unlabelled images."""

from __future__ import annotations

import numpy as np
import oracles_experts as oracles
import pytest
import torch

from shelfmark.calibration import ExpertWeights, calibrated
from shelfmark.calibration.expert_weights import stability
from shelfmark.core.errors import UserError
from shelfmark.ops.experts import expert_logits

E, D, C = 3, 4, 5


def case(num_images: int = 40, noise: tuple[float, ...] = (2.0, 0.2, 2.0), seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Two views, in which expert e is blurred by noise[e]; weight and bias. float64."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    clear = drawn(num_images, E, D)
    scale = torch.tensor(noise, dtype=torch.float64)[:, None]
    first, second = ((clear + scale * drawn(num_images, E, D)).flatten(1) / E for _ in range(2))
    return first, second, drawn(C, E * D), drawn(C)


def views_as_logits(first, second, weight, bias) -> tuple[np.ndarray, np.ndarray]:
    return tuple(expert_logits(view, weight, bias, E).numpy() for view in (first, second))


@pytest.mark.parametrize("with_bias", [True, False])
def test_the_stability_and_its_gradient_are_the_loops(with_bias: bool) -> None:
    first, second, weight, bias = case(num_images=7)
    given = bias if with_bias else None
    values = torch.tensor([0.3, -0.5, 0.1], dtype=torch.float64, requires_grad=True)
    found = stability(first, second, weight, given, values)
    logits = views_as_logits(first, second, weight, given)

    def expected(at: np.ndarray) -> float:
        return oracles.stability(*logits, np.exp(at) / np.exp(at).sum())

    at, h = values.detach().numpy(), 1e-6
    assert found == pytest.approx(expected(at), rel=1e-12)
    slopes = [(expected(at + h * unit) - expected(at - h * unit)) / (2 * h) for unit in np.eye(E)]
    np.testing.assert_allclose(values.grad, slopes, atol=1e-8)


def test_the_expert_that_sees_both_views_alike_gets_the_most_weight() -> None:
    first, second, weight, bias = case()
    fitted = ExpertWeights().fit(first, second, weight, bias, E)
    assert float(fitted.weights_.sum()) == pytest.approx(1)
    assert int(fitted.weights_.argmax()) == 1
    assert float(fitted.weights_.min()) >= 0.05
    logits = views_as_logits(first, second, weight, bias)
    assert fitted.equal_stability_ == pytest.approx(oracles.stability(*logits, [1 / 3] * 3), rel=1e-12)
    assert fitted.stability_ == pytest.approx(oracles.stability(*logits, fitted.weights_.tolist()), rel=1e-10)
    assert fitted.stability_ > fitted.equal_stability_ + 0.02


def test_no_weights_on_a_grid_are_better_within_the_limit() -> None:
    first, second, weight, bias = case(noise=(0.4, 0.5, 0.6))
    fitted = ExpertWeights(num_steps=100).fit(first, second, weight, bias, E)
    logits = views_as_logits(first, second, weight, bias)
    grid = [(a / 20, b / 20, (20 - a - b) / 20) for a in range(1, 19) for b in range(1, 20 - a)]
    best = max(oracles.stability(*logits, shares) for shares in grid)
    # The last step before the limit may leave a little.
    assert fitted.stability_ > best - 0.005


def test_the_folded_classifier_gives_the_weighed_logits_and_keeps_the_bias() -> None:
    first, second, weight, bias = case()
    fitted = ExpertWeights().fit(first, second, weight, bias, E)
    expected = torch.einsum("nec,e->nc", expert_logits(first, weight, bias, E), fitted.weights_)
    torch.testing.assert_close(fitted.logits(first), expected)
    assert torch.equal(fitted.bias_, bias)
    assert ExpertWeights().fit(first, second, weight, None, E).bias_ is None


def test_without_a_step_the_classifier_stays_as_it_is() -> None:
    first, second, weight, bias = case()
    fitted = ExpertWeights(num_steps=0).fit(first, second, weight, bias, E)
    torch.testing.assert_close(fitted.weight_, weight)
    assert fitted.stability_ == fitted.equal_stability_


def test_equal_experts_keep_equal_weights_and_moved_ones_take_theirs_along() -> None:
    first, second, weight, bias = case()
    blocks = [one.unflatten(1, (E, D)) for one in (first, second, weight)]
    alike = [one[:, :1].expand(-1, E, -1).flatten(1) for one in blocks]
    torch.testing.assert_close(
        ExpertWeights().fit(*alike, bias, E).weights_, torch.full((E,), 1 / E, dtype=torch.float64)
    )
    order = [2, 0, 1]
    moved = [one[:, order].flatten(1) for one in blocks]
    torch.testing.assert_close(
        ExpertWeights().fit(*moved, bias, E).weights_,
        ExpertWeights().fit(first, second, weight, bias, E).weights_[order],
    )


def test_blocks_float32_and_numpy_features_give_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, weight, bias = case(num_images=11)
    expected = ExpertWeights().fit(first, second, weight, bias, E).weights_
    monkeypatch.setattr(calibrated, "_BLOCK_LOGITS", 3 * 2 * E * C)
    torch.testing.assert_close(ExpertWeights().fit(first, second, weight, bias, E).weights_, expected)
    stored = [one.float().numpy() for one in (first, second)]
    single = ExpertWeights().fit(*stored, weight.float(), bias.float(), E)
    assert single.weight_.dtype == torch.float32
    torch.testing.assert_close(single.weights_, expected, rtol=1e-3, atol=1e-4)


def test_what_cannot_be_weighed_is_refused() -> None:
    first, second, weight, bias = case(num_images=4)
    with pytest.raises(UserError, match="no image"):
        ExpertWeights().fit(first[:0], second[:0], weight, bias, E)
    with pytest.raises(ValueError, match="do not fit"):
        ExpertWeights().fit(first, second[:3], weight, bias, E)
    with pytest.raises(UserError, match="NaN or infinity"):
        ExpertWeights().fit(first, second * torch.nan, weight, bias, E)
