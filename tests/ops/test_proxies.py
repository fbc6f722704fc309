"""Cosines with class proxies against loops."""

from __future__ import annotations

import numpy as np
import oracles_proxies as oracles
import pytest
import torch
from torch import Tensor

from shelfmark.ops.proxies import proxy_cosines, unit_proxies


def rows(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize(("num_rows", "num_classes", "num_proxies"), [(5, 3, 2), (4, 1, 3), (0, 3, 2), (3, 1, 1)])
def test_every_cosine_is_that_of_the_loop(num_rows, num_classes, num_proxies):
    vectors, weight = rows(num_rows, 6, seed=1), 3 * rows(num_classes, num_proxies, 6, seed=2)
    expected = oracles.cosines(vectors.numpy(), weight.numpy()).reshape(num_rows, num_classes, num_proxies)
    found = proxy_cosines(vectors, weight)
    assert found.shape == ((num_rows, num_classes) if num_proxies == 1 else (num_rows, num_classes, num_proxies))
    np.testing.assert_allclose(found.view(expected.shape), expected, rtol=0, atol=1e-14)


def test_the_gradient_reaches_vectors_and_proxies():
    vectors, weight = rows(4, 3, seed=3).requires_grad_(), rows(2, 3, 3, seed=4).requires_grad_()
    upstream = rows(4, 2, 3, seed=5)
    (proxy_cosines(vectors, weight) * upstream).sum().backward()
    x, w, up = vectors.detach().numpy(), weight.detach().numpy(), upstream.numpy()
    by_vectors = oracles.gradient(lambda moved: float((oracles.cosines(moved, w) * up).sum()), x)
    by_weight = oracles.gradient(lambda moved: float((oracles.cosines(x, moved) * up).sum()), w)
    np.testing.assert_allclose(vectors.grad, by_vectors, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(weight.grad, by_weight, rtol=1e-8, atol=1e-9)


def test_the_cosines_are_float32_under_autocast_and_with_a_fast_matmul():
    vectors, weight = rows(8, 64, seed=6, dtype=torch.float32), rows(5, 2, 64, seed=7, dtype=torch.float32)
    exact = proxy_cosines(vectors.double(), weight.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = proxy_cosines(vectors, weight)
    assert found.dtype == torch.float32
    assert float((found - exact).abs().max()) < 1e-6


def test_a_vector_or_proxy_of_zeros_has_cosines_of_zero_and_a_bounded_gradient():
    vectors = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    weight = torch.tensor([[[0.0, 0.0]], [[0.0, 2.0]]], requires_grad=True)
    cosines = proxy_cosines(vectors, weight)
    cosines.sum().backward()
    torch.testing.assert_close(cosines, torch.tensor([[0.0, 0.0], [0.0, 0.8]]))
    # Below a length of 1e-6 a row is divided by that.
    assert vectors.grad.abs().max() == pytest.approx(1e6)
    assert weight.grad.abs().max() == pytest.approx(0.8e6)


def test_unit_proxies_have_length_one():
    weight = rows(3, 4, 5, seed=8)
    units = unit_proxies(weight)
    torch.testing.assert_close(units.norm(dim=2), torch.ones(3, 4, dtype=torch.float64))
    torch.testing.assert_close(units * weight.norm(dim=2, keepdim=True), weight)


@pytest.mark.parametrize("shapes", [((4, 3), (2, 3)), ((4, 3), (2, 1, 4)), ((4,), (2, 1, 4))])
def test_shapes_that_do_not_fit_are_refused(shapes):
    with pytest.raises(ValueError, match=r"vectors must be \(rows, dimensions\) and proxies .*, not \(4"):
        proxy_cosines(torch.zeros(shapes[0]), torch.zeros(shapes[1]))
