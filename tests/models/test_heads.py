"""Classifiers, metric and proxy heads, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from shelfmark.models.heads import CosineClassifier, LinearClassifier, MetricHead, ProxyHead
from shelfmark.models.options import HeadOptions

AS_IT_IS, HIDDEN = HeadOptions(), HeadOptions(dim=3, hidden_dim=5)


@pytest.mark.parametrize("bias", [True, False])
def test_linear_logits_are_weight_times_embedding_plus_bias(bias: bool) -> None:
    classifier = LinearClassifier(2, 3, bias)
    with torch.no_grad():
        classifier.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]))
        if classifier.bias is not None:
            classifier.bias.copy_(torch.tensor([0.5, 0.0, -1.0]))
    expected = torch.tensor([[3.0, 8.0, 7.0]]) + (torch.tensor([0.5, 0.0, -1.0]) if bias else 0.0)
    assert torch.equal(classifier(torch.tensor([[3.0, 4.0]])), expected)
    assert (classifier.bias is None) is not bias


def test_cosine_logits_are_the_scaled_cosine() -> None:
    classifier = CosineClassifier(2, 3, scale=10.0)
    assert classifier.bias is None
    assert list(classifier.state_dict()) == ["weight"]
    with torch.no_grad():
        classifier.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, -5.0], [1.0, 1.0]]))
    logits = classifier(torch.tensor([[3.0, 4.0]]))
    assert torch.allclose(logits, torch.tensor([[6.0, -8.0, 10 * 7 / (5 * math.sqrt(2))]]))


def test_cosine_rows_start_with_length_one_per_class() -> None:
    weight = CosineClassifier(64, 5).weight
    assert weight.shape == (5, 64)
    assert torch.allclose(weight.norm(dim=1), torch.ones(5))


def test_cosine_logits_are_float32_under_autocast() -> None:
    classifier = CosineClassifier(64, 5, scale=64.0)
    embedding = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = classifier(embedding)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, classifier(embedding))


def test_a_scale_lets_the_loss_of_many_classes_fall() -> None:
    num_classes = 50_030
    cosines = torch.full((1, num_classes), -1.0)
    cosines[0, 7] = 1.0
    label = torch.tensor([7])
    assert F.cross_entropy(cosines, label).item() == pytest.approx(8.82, abs=0.01)
    assert F.cross_entropy(CosineClassifier(2, 2).scale * cosines, label).item() < 1e-8


@pytest.mark.parametrize(("dim", "expected"), [(0, 8), (3, 3)])
def test_metric_vectors_have_length_one_and_the_asked_dimension(dim: int, expected: int) -> None:
    vectors = MetricHead(8, HeadOptions(dim=dim))(torch.randn(5, 8, generator=torch.Generator().manual_seed(0)))
    assert vectors.shape == (5, expected)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(5))


def test_a_head_without_projection_has_no_parameters() -> None:
    assert not MetricHead(8, AS_IT_IS).state_dict()
    assert torch.allclose(MetricHead(2, AS_IT_IS)(torch.tensor([[3.0, 4.0]])), torch.tensor([[0.6, 0.8]]))


@pytest.mark.parametrize("head", [MetricHead(8, HIDDEN), ProxyHead(8, 2, HIDDEN)])
def test_a_hidden_layer_stands_before_the_projection(head: MetricHead | ProxyHead) -> None:
    embedding = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    state = head.state_dict()
    hidden = (embedding @ state["projection.0.weight"].T + state["projection.0.bias"]).clamp_min(0)
    expected = hidden @ state["projection.2.weight"].T + state["projection.2.bias"]
    found = head(embedding)
    vectors = found if isinstance(found, torch.Tensor) else found.embeddings
    assert hidden.shape == (4, 5)
    torch.testing.assert_close(vectors, expected / expected.norm(dim=1, keepdim=True))


def test_a_zero_vector_stays_finite_in_value_and_gradient() -> None:
    embedding = torch.zeros(2, 4, requires_grad=True)
    vectors = MetricHead(4, AS_IT_IS)(embedding)
    vectors.sum().backward()
    assert torch.equal(vectors, torch.zeros(2, 4))
    assert embedding.grad is not None
    assert embedding.grad.isfinite().all()


def test_metric_vectors_are_normalised_in_float32_under_autocast() -> None:
    embedding = torch.randn(4, 512, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vectors = MetricHead(512, HeadOptions(dim=128))(embedding)
    assert vectors.dtype == torch.float32
    assert torch.allclose(vectors.norm(dim=1), torch.ones(4), atol=1e-6)


def test_float64_stays_float64() -> None:
    assert MetricHead(4, AS_IT_IS)(torch.ones(1, 4, dtype=torch.float64)).dtype == torch.float64


def test_a_proxy_head_gives_unit_vectors_and_its_weight_as_it_is() -> None:
    head = ProxyHead(2, 3, AS_IT_IS)
    vectors, weight = head(torch.tensor([[3.0, 4.0]]))
    assert torch.allclose(vectors, torch.tensor([[0.6, 0.8]]))
    assert weight is head.weight
    assert list(head.state_dict()) == ["weight"]


@pytest.mark.parametrize(("dim", "centers_per_class", "expected"), [(0, 1, (5, 1, 8)), (3, 2, (5, 2, 3))])
def test_a_proxy_head_has_its_proxies_in_the_space_of_its_vectors(
    dim: int, centers_per_class: int, expected: tuple[int, ...]
) -> None:
    head = ProxyHead(8, 5, HeadOptions(type="proxy", dim=dim, centers_per_class=centers_per_class))
    vectors, weight = head(torch.randn(4, 8, generator=torch.Generator().manual_seed(0)))
    assert vectors.shape == (4, expected[2])
    assert weight.shape == expected
    assert torch.allclose(vectors.norm(dim=1), torch.ones(4))


def test_proxies_start_with_length_one_in_different_directions() -> None:
    weight = ProxyHead(64, 5, HeadOptions(type="proxy", centers_per_class=3)).weight.detach().flatten(0, 1)
    assert torch.allclose(weight.norm(dim=1), torch.ones(15))
    assert float((weight @ weight.T - torch.eye(15)).abs().max()) < 0.7


def test_a_proxy_head_is_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vectors, weight = ProxyHead(512, 3, HeadOptions(dim=128))(
            torch.randn(4, 512, generator=torch.Generator().manual_seed(0))
        )
    assert vectors.dtype == weight.dtype == torch.float32
    assert torch.allclose(vectors.norm(dim=1), torch.ones(4), atol=1e-6)
