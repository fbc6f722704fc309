"""Dot products keep float32's digits, whatever the program around them allows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from shelfmark.ops.similarity import dot_products, full_precision


@pytest.fixture
def vectors() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(120, 256, generator=generator))


@pytest.fixture
def fast_matmul() -> Iterator[None]:
    """A program that has asked torch for the fastest float32 products."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


def switches() -> list[str]:
    return [torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision]


def test_products_are_within_a_millionth_under_autocast_and_fast_matmul(vectors, fast_matmul):
    exact = vectors.double() @ vectors.double().T
    with torch.autocast("cpu", dtype=torch.bfloat16):
        similarity = dot_products(vectors, vectors)
    assert similarity.dtype == torch.float32
    assert (similarity - exact).abs().max() < 1e-6


def test_the_gradient_is_as_exact(vectors, fast_matmul):
    query, gallery = vectors.clone().requires_grad_(), vectors.flip(0).requires_grad_()
    upstream = torch.randn(120, 120, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        by_query, by_gallery = torch.autograd.grad(dot_products(query, gallery), (query, gallery), upstream)
    torch.testing.assert_close(by_query.double(), upstream.double() @ gallery.double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(by_gallery.double(), upstream.T.double() @ query.double(), rtol=0, atol=1e-5)


def test_the_program_s_switches_are_put_back_also_after_an_error(vectors, fast_matmul):
    before = switches()
    dot_products(vectors, vectors)
    inside = []

    def fail() -> None:
        with full_precision(vectors.device):
            inside.append(torch.get_float32_matmul_precision())
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail()
    assert inside == ["highest"]
    assert torch.get_float32_matmul_precision() == "medium"
    assert switches() == before


def test_switches_set_one_by_one_are_put_back(vectors):
    before = switches()
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        dot_products(vectors, vectors)
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    finally:
        torch.backends.cuda.matmul.fp32_precision = before[0]


def test_float64_stays_and_half_precision_rises(vectors):
    assert dot_products(vectors.double(), vectors.double()).dtype == torch.float64
    half = vectors.half()
    assert torch.equal(dot_products(half, half), dot_products(half.float(), half.float()))
