"""ProxyNCA, Proxy Anchor and SoftTriple against loops, pytorch-metric-learning, and cases by hand."""

from __future__ import annotations

import math

import numpy as np
import oracles_proxies as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_checks import SEEDS, random_cosines
from pytorch_metric_learning import losses as pml
from torch import Tensor

from shelfmark.core import dist
from shelfmark.losses.proxy_anchor import ProxyAnchorLoss
from shelfmark.losses.proxy_nca import ProxyNCALoss
from shelfmark.losses.soft_triple import SoftTripleLoss
from shelfmark.ops.proxies import proxy_cosines


def rows(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gradients(value: Tensor, *of: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(value, of))


# --- ProxyNCA ---


@settings(max_examples=20, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 2), max_size=6),
    temperature=st.sampled_from([1 / 9, 0.5, 3.0]),
    seed=SEEDS,
)
def test_proxy_nca_is_the_softmax_over_squared_distances(labels, temperature, seed):
    vectors, weight = rows(len(labels), 4, seed=seed), rows(3, 1, 4, seed=seed + 1)
    value = ProxyNCALoss(temperature)(proxy_cosines(vectors, weight), torch.tensor(labels, dtype=torch.int64))
    expected = oracles.proxy_nca(vectors.numpy(), labels, weight[:, 0].numpy(), temperature)
    assert float(value) == pytest.approx(expected, rel=1e-10)


def test_proxy_nca_by_hand():
    # Squared distances 0 and 2 at temperature 2 / ln 3: odds of three to one.
    cosine = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    value = ProxyNCALoss(2 / math.log(3))(cosine, torch.tensor([0]))
    assert float(value) == pytest.approx(math.log(4 / 3), rel=1e-12)


def test_pytorch_metric_learning_finds_the_same_proxy_nca():
    vectors, weight, labels = rows(9, 6, seed=1).requires_grad_(), rows(4, 1, 6, seed=2), torch.arange(9) % 4
    theirs = pml.ProxyNCALoss(num_classes=4, embedding_size=6, softmax_scale=9)
    theirs.proxies.data = weight[:, 0].clone()
    ours = ProxyNCALoss()(proxy_cosines(vectors, weight), labels)
    expected = theirs(vectors, labels)
    assert float(ours.detach()) == pytest.approx(float(expected.detach()), rel=1e-9)
    torch.testing.assert_close(gradients(ours, vectors), gradients(expected, vectors))


def test_proxy_nca_takes_the_nearest_proxy_of_each_class():
    cosine, labels = random_cosines(5, 3, 2, seed=3), torch.tensor([0, 1, 2, -1, 0])
    assert float(ProxyNCALoss()(cosine, labels)) == pytest.approx(
        float(ProxyNCALoss()(torch.from_numpy(oracles.nearest(cosine.numpy())), labels)), rel=1e-12
    )


# --- Proxy Anchor ---


@settings(max_examples=20, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 3), max_size=7),
    margin=st.sampled_from([0.0, 0.1, 0.5]),
    alpha=st.sampled_from([1.0, 8.0]),
    seed=SEEDS,
)
def test_proxy_anchor_is_the_loop_over_proxies(labels, margin, alpha, seed):
    cosine = random_cosines(len(labels), 4, seed=seed).requires_grad_()
    value = ProxyAnchorLoss(margin, alpha)(cosine, torch.tensor(labels, dtype=torch.int64))
    value.backward()
    at = cosine.detach().numpy()
    slopes = oracles.gradient(lambda c: oracles.proxy_anchor(c, labels, margin, alpha), at, step=1e-4)
    assert float(value.detach()) == pytest.approx(oracles.proxy_anchor(at, labels, margin, alpha), rel=1e-12)
    np.testing.assert_allclose(cosine.grad, slopes, rtol=1e-7, atol=1e-9)


def test_proxy_anchor_by_hand():
    # One row of class 0 and one of class 1, three classes, cosines at which every exponent is 0.
    cosine = torch.tensor([[0.5, -0.5, -0.5], [-0.5, 0.5, -0.5]], dtype=torch.float64)
    value = ProxyAnchorLoss(margin=0.5, alpha=7.0)(cosine, torch.tensor([0, 1]))
    # Pulled: ln 2 for two of the classes in the batch. Pushed: ln 2, ln 2 and, from both rows, ln 3.
    assert float(value) == pytest.approx(math.log(2) + (2 * math.log(2) + math.log(3)) / 3, rel=1e-12)


def test_pytorch_metric_learning_finds_the_same_proxy_anchor():
    vectors, weight, labels = rows(9, 6, seed=4).requires_grad_(), rows(5, 1, 6, seed=5), torch.arange(9) % 4
    theirs = pml.ProxyAnchorLoss(num_classes=5, embedding_size=6, margin=0.1, alpha=32)
    theirs.proxies.data = weight[:, 0].clone()
    ours = ProxyAnchorLoss()(proxy_cosines(vectors, weight), labels)
    expected = theirs(vectors, labels)
    assert float(ours.detach()) == pytest.approx(float(expected.detach()), rel=1e-9)
    torch.testing.assert_close(gradients(ours, vectors), gradients(expected, vectors))


def test_proxy_anchor_of_one_class_only_pulls():
    cosine = random_cosines(3, 1, seed=6)
    expected = math.log(1 + sum(math.exp(-32 * (c - 0.1)) for c in cosine[:, 0].tolist()))
    assert float(ProxyAnchorLoss()(cosine, torch.tensor([0, 0, 0]))) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("labels", [[], [-1, -1]])
def test_proxy_anchor_without_labelled_row_is_zero_and_so_is_its_gradient(labels):
    cosine = random_cosines(len(labels), 3, seed=7).requires_grad_()
    value = ProxyAnchorLoss()(cosine, torch.tensor(labels, dtype=torch.int64))
    value.backward()
    assert float(value.detach()) == 0
    assert not cosine.grad.any()


@pytest.mark.parametrize("alpha", [32.0, 1000.0])
def test_proxy_anchor_is_finite_and_exact_in_float32_at_the_ends(alpha):
    cosine = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [-1.0, 1.0, 1.0]])
    labels = torch.tensor([0, 0, 2])
    loss = ProxyAnchorLoss(alpha=alpha)
    exact = cosine.double().requires_grad_()
    expected = loss(exact, labels)
    cosine.requires_grad_()
    value = loss(cosine, labels)
    assert float(value.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    [gradient], [exact_gradient] = gradients(value, cosine), gradients(expected, exact)
    torch.testing.assert_close(gradient.double(), exact_gradient, rtol=1e-4, atol=1e-4)


def test_proxy_anchor_takes_the_nearest_proxy_of_each_class():
    cosine, labels = random_cosines(5, 3, 2, seed=8), torch.tensor([0, 1, 2, -1, 0])
    expected = oracles.proxy_anchor(oracles.nearest(cosine.numpy()), labels.tolist(), 0.1, 32.0)
    assert float(ProxyAnchorLoss()(cosine, labels)) == pytest.approx(expected, rel=1e-12)


def test_proxy_anchor_adds_up_over_the_processes_batches(monkeypatch):
    cosine, labels = random_cosines(7, 4, seed=9), torch.tensor([0, 1, 1, -1, 2, 0, 0])
    loss = ProxyAnchorLoss()
    shares = [slice(0, 2), slice(2, 7), slice(7, 7)]
    log_sums, sizes = zip(*(loss._over_rows(cosine[share], labels[share], raises=True) for share in shares))
    monkeypatch.setattr(dist, "gather_rows", lambda own: torch.stack(log_sums))
    monkeypatch.setattr(dist, "sum_over_ranks", lambda own: torch.stack(sizes).sum(0))
    found = loss.over_ranks(cosine[:2], labels[:2], step=3)
    assert float(found) == pytest.approx(float(loss(cosine, labels)), rel=1e-12)


# --- SoftTriple ---


@settings(max_examples=15, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 2), max_size=4),
    num_centres=st.integers(1, 3),
    tau=st.sampled_from([0.0, 0.2]),
    seed=SEEDS,
)
def test_soft_triple_is_the_loop_over_classes_and_centres(labels, num_centres, tau, seed):
    vectors, weight = (
        rows(len(labels), 3, seed=seed).requires_grad_(),
        rows(3, num_centres, 3, seed=seed + 1).requires_grad_(),
    )
    options = (5.0, 0.3, 0.05, tau)
    value = SoftTripleLoss(*options)(vectors, torch.tensor(labels, dtype=torch.int64), weight)
    x, w = vectors.detach().numpy(), weight.detach().numpy()
    assert float(value.detach()) == pytest.approx(oracles.soft_triple(x, labels, w, *options), rel=1e-10)
    by_vectors, by_weight = gradients(value, vectors, weight)
    slopes = oracles.gradient(lambda moved: oracles.soft_triple(x, labels, moved, *options), w)
    np.testing.assert_allclose(by_weight, slopes, rtol=1e-6, atol=1e-8)
    slopes = oracles.gradient(lambda moved: oracles.soft_triple(moved, labels, w, *options), x)
    np.testing.assert_allclose(by_vectors, slopes, rtol=1e-6, atol=1e-8)


def test_soft_triples_regulariser_by_hand():
    # Two classes of two centres: at right angles, sqrt 2 apart, and opposite, 2 apart; over C K (K - 1) = 4.
    weight = torch.tensor([[[3.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [-2.0, 0.0]]], dtype=torch.float64)
    value = SoftTripleLoss(tau=8.0)(torch.ones(1, 2, dtype=torch.float64), torch.tensor([-1]), weight)
    assert float(value) == pytest.approx(8 * (math.sqrt(2) + 2) / 4, rel=1e-12)


def test_pytorch_metric_learning_finds_the_same_softmax_of_soft_triple():
    vectors, weight, labels = rows(9, 6, seed=10).requires_grad_(), rows(4, 3, 6, seed=11), torch.arange(9) % 4
    theirs = pml.SoftTripleLoss(num_classes=4, embedding_size=6, centers_per_class=3, la=20, gamma=0.1, margin=0.01)
    theirs.fc.data = weight.flatten(0, 1).T.clone()
    ours = SoftTripleLoss(tau=0.0)(vectors, labels, weight)
    expected = theirs(vectors, labels)
    assert float(ours.detach()) == pytest.approx(float(expected.detach()), rel=1e-9)
    torch.testing.assert_close(gradients(ours, vectors), gradients(expected, vectors))


def test_merged_centres_have_a_finite_gradient():
    weight = torch.ones(2, 3, 4, requires_grad=True)
    value = SoftTripleLoss()(torch.ones(2, 4), torch.tensor([0, 1]), weight)
    [gradient] = gradients(value, weight)
    assert gradient.isfinite().all()
    assert gradient.abs().max() < 1


def test_soft_triple_is_float32_for_half_precision():
    vectors, weight = rows(4, 8, seed=12, dtype=torch.float32), rows(3, 2, 8, seed=13, dtype=torch.float32)
    labels = torch.tensor([0, 1, 2, -1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = SoftTripleLoss()(vectors.bfloat16(), labels, weight)
    assert value.dtype == torch.float32
    expected = SoftTripleLoss()(vectors.bfloat16().double(), labels, weight.double())
    assert float(value) == pytest.approx(float(expected), rel=1e-5)


# --- all ---


@pytest.mark.parametrize("loss", [ProxyNCALoss(), ProxyAnchorLoss()])
def test_half_precision_is_computed_in_float32_whatever_autocast_says(loss):
    cosine, labels = random_cosines(6, 4, seed=14).bfloat16(), torch.tensor([0, 1, 2, 3, 0, -1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(cosine, labels)
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(float(loss(cosine.double(), labels)), rel=1e-5)


@pytest.mark.parametrize("loss", [ProxyNCALoss(), ProxyAnchorLoss()])
def test_the_order_of_rows_and_rows_without_label_change_nothing(loss):
    cosine, labels = random_cosines(6, 4, seed=15), torch.tensor([0, 1, 1, 3, 0, 2])
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    more = torch.cat([cosine[order], random_cosines(2, 4, seed=16)])
    more_labels = torch.cat([labels[order], torch.tensor([-1, -1])])
    assert float(loss(more, more_labels)) == pytest.approx(float(loss(cosine, labels)), rel=1e-12)


# --- options and entries ---


def test_inputs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"cosines must be \(rows, classes\) or .*, not torch.float32 \(3,\)"):
        ProxyAnchorLoss()(torch.zeros(3), torch.tensor([0, 0, 0]))
    with pytest.raises(ValueError, match=r"labels lie in 0\.\.2; 2 classes"):
        ProxyAnchorLoss()(torch.zeros(2, 2), torch.tensor([0, 2]))
    with pytest.raises(ValueError, match=r"vectors must be .* not \(2, 3\) and \(2, 1, 4\)"):
        SoftTripleLoss()(torch.zeros(2, 3), torch.tensor([0, 1]), torch.zeros(2, 1, 4))
