"""Class weights in the entries of a config: what is built from the counts of a run."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shelfmark.core import dist
from shelfmark.losses import LOSSES, ClassificationLoss, LossContext, entry
from shelfmark.losses.class_weights import DeferredWeights
from shelfmark.losses.ldam import LDAM

COUNTS = [100, 50, 20, 10, 5, 2]
CONTEXT = LossContext(counts=torch.tensor(COUNTS), device=torch.device("cpu"), seed=9)
REQUIRED = {"cdt": {"gamma": 0.2}, "softmax_eql": {"gamma": 0.9, "threshold": 0.1}}
each_loss = pytest.mark.parametrize(
    "name", [name for name, loss in LOSSES.items() if issubclass(loss, ClassificationLoss)]
)


def built(name, **options):
    return entry(name, **REQUIRED.get(name, {}), **options).build(CONTEXT)


@each_loss
def test_weights_by_the_effective_number_of_images_are_the_hand_check_s(name):
    weight = built(name, class_weights="effective_number").weight
    np.testing.assert_allclose(weight, [0.0685, 0.1367, 0.3411, 0.6819, 1.3635, 3.4083], atol=5e-5)
    assert built(name, class_weights="effective_number", beta=0.0).weight.tolist() == pytest.approx([1.0] * 6)


@each_loss
def test_weights_by_a_power_of_the_count_sum_to_the_classes(name):
    weight = built(name, class_weights="power", power=0.5).weight
    expected = np.array(COUNTS) ** -0.5
    np.testing.assert_allclose(weight, 6 * expected / expected.sum(), rtol=1e-12)


@each_loss
def test_deferred_weights_come_in_with_their_step(name):
    options = {"class_weights": "power", "power": 1.0}
    loss = built(name, **options, class_weights_from_epoch=100)
    assert isinstance(loss, DeferredWeights)
    logits = torch.randn(12, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.arange(12) % 6
    plain, weighted = built(name), built(name, **options)
    assert torch.equal(loss(logits, labels), plain(logits, labels))
    assert torch.equal(loss(logits, labels, 99), plain(logits, labels, 99))
    assert torch.equal(loss(logits, labels, 100), weighted(logits, labels, 100))
    assert torch.equal(loss.over_ranks(logits, labels, step=100), weighted(logits, labels, 100))
    assert not torch.equal(loss(logits, labels, 99), loss(logits, labels, 100))


def test_deferred_weights_are_shared_by_the_processes(monkeypatch):
    loss = built("cross_entropy", class_weights="power", class_weights_from_epoch=5)
    monkeypatch.setattr(dist, "world_size", lambda: 2)
    monkeypatch.setattr(dist, "sum_over_ranks", lambda of_rank: 2 * of_rank)
    monkeypatch.setattr(dist, "sum_of_parts", lambda part: 2 * part)
    logits, labels = torch.zeros(2, 6), torch.tensor([0, 5])
    for step in (4, 5):
        assert float(loss.over_ranks(logits, labels, step=step)) == pytest.approx(float(loss(logits, labels, step)))


def test_weights_from_the_first_step_need_no_second_loss():
    assert isinstance(built("ldam", class_weights="power"), LDAM)
    assert isinstance(built("ldam", class_weights="none", class_weights_from_epoch=100), LDAM)
    assert built("ldam").weight is None


def test_a_class_without_images_has_no_weight():
    context = LossContext(counts=torch.tensor([4, 0, 1]), device=torch.device("cpu"))
    for kind in ("effective_number", "power"):
        weight = entry("cross_entropy", class_weights=kind, beta=0.5, power=1.0).build(context).weight
        assert float(weight[1]) == 0
        assert float(weight.sum()) == pytest.approx(3)
