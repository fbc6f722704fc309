"""Poolings of a map, beside plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from shelfmark.ops import pooling


def maps(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(dtype)


def gem_by_loops(x: Tensor, p: float, eps: float) -> list[list[float]]:
    """The generalised mean of each channel, number by number."""
    return [
        [(math.fsum(max(value, eps) ** p for value in channel) / len(channel)) ** (1 / p) for channel in image]
        for image in x.flatten(2).tolist()
    ]


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 1, 1), (3, 2, 1, 7)])
@pytest.mark.parametrize("p", [0.5, 1.0, 3.0, 6.4])
def test_the_generalised_mean_is_its_definition(shape: tuple[int, int, int, int], p: float) -> None:
    x = maps(*shape)
    expected = gem_by_loops(x, p, 1e-6)
    for row, values in zip(pooling.gem(x, p).tolist(), expected):
        assert row == pytest.approx(values, rel=1e-9)
    for row, values in zip(pooling.gem(x.float(), p).tolist(), expected):
        assert row == pytest.approx(values, rel=1e-5)


def test_a_case_worked_out_by_hand() -> None:
    x = torch.tensor([[[[1.0, 2.0], [3.0, -5.0]]]])
    # (1 + 8 + 27 + 1e-18) / 4 = 9.
    assert pooling.gem(x).item() == pytest.approx(9 ** (1 / 3), rel=1e-6)
    assert pooling.avg(x).item() == 0.25
    assert pooling.max(x).item() == 3.0


def test_power_one_is_the_average_and_a_large_one_nears_the_maximum() -> None:
    x = maps(2, 3, 4, 4).abs() + 0.1
    assert torch.allclose(pooling.gem(x, 1.0), pooling.avg(x))
    assert torch.allclose(pooling.gem(x, 500.0), pooling.max(x), rtol=0.01)


def test_its_gradient_in_the_map_and_in_p_is_that_of_small_differences() -> None:
    x = maps(2, 2, 3, 3).abs().add(0.1).requires_grad_()
    p = torch.tensor([2.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, p: pooling.gem(x, p), (x, p))


def test_what_lies_below_eps_counts_as_eps_and_gets_no_gradient() -> None:
    x = torch.tensor([[[[-1.0, 0.0, 2.0]]]], requires_grad=True)
    pooled = pooling.gem(x, 3.0, eps=0.5)
    assert pooled.item() == pytest.approx(((0.125 + 0.125 + 8) / 3) ** (1 / 3), rel=1e-6)
    pooled.sum().backward()
    assert x.grad is not None
    assert x.grad.flatten()[:2].tolist() == [0.0, 0.0]
    assert x.grad.flatten()[2].item() > 0


@pytest.mark.parametrize("p", [3.0, 7.0, 20.0])
def test_a_dead_channel_is_finite_in_value_and_gradient(p: float) -> None:
    x = torch.zeros(1, 1, 2, 2, requires_grad=True)
    power = torch.tensor([p], requires_grad=True)
    pooled = pooling.gem(x, power)
    assert pooled.item() == pytest.approx(1e-6, rel=1e-4)
    pooled.sum().backward()
    assert power.grad is not None
    assert math.isfinite(power.grad.item())
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


@pytest.mark.parametrize("pool", [pooling.avg, pooling.max, pooling.gem])
def test_half_precision_is_pooled_in_float32_and_the_order_of_pixels_plays_no_part(pool) -> None:
    x = maps(2, 3, 4, 4).abs()
    assert pool(x.bfloat16()).dtype == torch.float32
    assert pool(x).dtype == torch.float64
    shuffled = x.flatten(2)[:, :, torch.randperm(16, generator=torch.Generator().manual_seed(0))].view_as(x)
    assert torch.allclose(pool(shuffled), pool(x))
    with pytest.raises(ValueError, match=r"\(N, C, H, W\), not \(2, 3\)"):
        pool(torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("p", "eps", "message"), [(0.0, 1e-6, "p=0.0"), (math.inf, 1e-6, "p=inf"), (3.0, 0.0, "eps=0")]
)
def test_powers_and_eps_that_cannot_be_meant_are_refused(p: float, eps: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pooling.gem(torch.ones(1, 1, 2, 2), p, eps)
