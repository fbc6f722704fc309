"""Losses of pytorch-metric-learning as entries of ours."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import pytest
import torch
from pytorch_metric_learning import losses, miners
from torch import Tensor
from torch.nn.functional import normalize

from shelfmark.core import dist
from shelfmark.core.errors import UserError
from shelfmark.losses import LOSSES, LossContext, LossEntry, entry
from shelfmark.losses.pml import OUR_NAMES

CONTEXT = LossContext(torch.tensor([4, 4, 4]), torch.device("cpu"), seed=7)
LABELS = torch.arange(12) % 3


def vectors(num_rows: int = 12, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(num_rows, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def pml(loss: str, **options: Any) -> LossEntry:
    return entry("pml", head="rank", loss=loss, **options)


def test_an_entry_is_the_loss_that_it_names_with_its_arguments():
    x = vectors().requires_grad_()
    found = pml("NTXentLoss", arguments={"temperature": 0.1}).build(CONTEXT)(x, LABELS)
    expected = losses.NTXentLoss(temperature=0.1)(x, LABELS)
    assert found.ndim == 0
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-12)
    torch.testing.assert_close(torch.autograd.grad(found, x), torch.autograd.grad(expected, x))
    assert float(found.detach()) != pytest.approx(float(losses.NTXentLoss()(x, LABELS).detach()), rel=1e-3)


def test_a_miner_chooses_the_pairs():
    x = vectors()
    options = {"miner": "MultiSimilarityMiner", "miner_arguments": {"epsilon": -0.3}}
    found = pml("NTXentLoss", **options).build(CONTEXT)(x, LABELS)
    expected = losses.NTXentLoss()(x, LABELS, miners.MultiSimilarityMiner(epsilon=-0.3)(x, LABELS))
    assert float(found) == pytest.approx(float(expected), rel=1e-12)
    for other in (None, miners.MultiSimilarityMiner()(x, LABELS)):
        assert float(found) != pytest.approx(float(losses.NTXentLoss()(x, LABELS, other)), rel=1e-3)


def test_rows_without_label_are_dropped():
    x, labels = vectors().requires_grad_(), LABELS.clone()
    labels[[0, 5]] = -1
    loss = pml("TripletMarginLoss").build(CONTEXT)
    value = loss(x, labels)
    kept = labels != -1
    assert float(value.detach()) == pytest.approx(float(losses.TripletMarginLoss()(x[kept], labels[kept]).detach()))
    value.backward()
    assert not x.grad[[0, 5]].any()
    assert x.grad[kept].any()


@pytest.mark.parametrize("name", ["NTXentLoss", "InstanceLoss"])
@pytest.mark.parametrize("num_rows", [0, 3])
def test_without_labelled_row_loss_and_gradient_are_zero(name, num_rows):
    x = vectors(num_rows).requires_grad_()
    value = pml(name).build(CONTEXT)(x, torch.full((num_rows,), -1))
    value.backward()
    assert float(value.detach()) == 0
    assert not x.grad.any()


def test_half_precision_is_computed_in_float32_whatever_autocast_says():
    x = vectors(dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = pml("NTXentLoss").build(CONTEXT)(x, LABELS)
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(float(losses.NTXentLoss()(x.double(), LABELS)), rel=1e-5)


def test_what_is_drawn_follows_from_seed_and_step_and_leaves_the_generator_alone():
    loss = pml("TripletMarginLoss", miner="UniformHistogramMiner", arguments={"triplets_per_anchor": 2})
    one, two = loss.build(CONTEXT), loss.build(LossContext(CONTEXT.counts, CONTEXT.device, seed=8))
    x, before = vectors(), torch.get_rng_state()
    values = [float(one(x, LABELS, step)) for step in (0, 1, 2, 0)]
    assert torch.equal(torch.get_rng_state(), before)
    assert values[0] == values[3]
    assert len(set(values)) == 3
    assert float(two(x, LABELS, 0)) != values[0]


def test_the_batch_of_all_processes_is_compared(monkeypatch):
    x, loss = vectors(), pml("NTXentLoss").build(CONTEXT)
    whole = {6: x, 0: LABELS}
    monkeypatch.setattr(dist, "gather_rows", lambda own: whole[own.shape[1] if own.ndim == 2 else 0])
    assert float(loss.over_ranks(x[:5], LABELS[:5], step=2)) == pytest.approx(float(loss(x, LABELS)), rel=1e-12)


def test_vectors_that_are_not_finite_are_refused():
    x = vectors()
    x[3, 1] = torch.nan
    with pytest.raises(UserError, match=r"not finite in rows 3 of 12"):
        pml("NTXentLoss").build(CONTEXT)(x, LABELS)


NEEDS: dict[str, dict[str, Any]] = {
    "GenericPairLoss": {"mat_based_loss": True},
    "LargeMarginSoftmaxLoss": {"num_classes": 3, "embedding_size": 6},
    "ManifoldLoss": {"l": 6},
    "P2SGradLoss": {"num_classes": 3, "descriptors_dim": 6},
    "RankedListLoss": {"margin": 0.4, "Tn": 10},
    "SphereFaceLoss": {"num_classes": 3, "embedding_size": 6},
}
"""Its losses that cannot be made without arguments."""
BATCHES = [[0, 0, 0, 1, 1, 2, -1], [0, 1, 2, 3], [4, 4, 4], [1], [-1, -1], [0] * 7 + [1]]
REFUSED = {
    *("DynamicSoftMarginLoss", "GenericPairLoss", "ManifoldLoss", "SmoothAPLoss", "VICRegLoss"),  # they cannot train
    *("LargeMarginSoftmaxLoss", "P2SGradLoss", "SphereFaceLoss", *OUR_NAMES),  # they own parameters
}
ALL = [
    name
    for name, one in inspect.getmembers(losses, inspect.isclass)
    if issubclass(one, losses.BaseMetricLossFunction) and one is not losses.BaseMetricLossFunction
]


@pytest.mark.parametrize("name", sorted(REFUSED & set(ALL)))
def test_losses_of_the_library_that_cannot_train_here_are_refused_when_built(name):
    with pytest.raises(UserError, match="owns parameters|cannot train here"):
        pml(name, arguments=NEEDS.get(name, {})).build(CONTEXT)


@pytest.mark.parametrize("name", sorted(set(ALL) - REFUSED))
def test_every_other_loss_of_the_library_takes_any_batch(name):
    loss = pml(name, arguments=NEEDS.get(name, {})).build(CONTEXT)
    first = None
    for labels in [*BATCHES, *BATCHES]:
        x = normalize(vectors(len(labels))).requires_grad_()
        value = loss(x, torch.tensor(labels))
        value.backward()
        assert value.isfinite()
        assert x.grad.isfinite().all()
        first = float(value.detach()) if first is None else first
    x = normalize(vectors(len(BATCHES[0])))
    assert float(loss(x, torch.tensor(BATCHES[0]))) == first


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("SmoothAPLoss", {}, r"SmoothAPLoss cannot train here: on a batch of classes .* same number.*name: smooth_ap"),
        ("DynamicSoftMarginLoss", {}, r"its value depends on the batches before.*name: triplet, margin: 0\}"),
        ("VICRegLoss", {}, r"it raises ValueError.*name: sup_con"),
        ("PNPLoss", {"miner": "BatchHardMiner"}, r"PNPLoss with BatchHardMiner cannot train .* Choose .* or no miner"),
    ],
)
def test_a_loss_that_would_fail_inside_a_step_is_refused_with_the_reason_and_another(name, options, text):
    before = torch.get_rng_state()
    with pytest.raises(UserError, match=text):
        pml(name, **options).build(CONTEXT)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loss_that_is_nan_without_positives_is_0_with_a_gradient_of_zeros():
    x = vectors(3).requires_grad_()
    assert losses.NCALoss()(x, torch.arange(3)).isnan()
    value = pml("NCALoss").build(CONTEXT)(x, torch.arange(3))
    value.backward()
    assert float(value.detach()) == 0
    assert not x.grad.any()


@pytest.mark.parametrize("name", sorted(OUR_NAMES))
def test_a_loss_that_owns_proxies_is_refused_with_our_own_entry(name):
    said = rf"{name} owns parameters.*name: {OUR_NAMES[name]}, head: .*model\.heads: .*type: proxy"
    for arguments in ({}, {"num_classes": 3, "embedding_size": 6}):
        with pytest.raises(UserError, match=said):
            pml(name, arguments=arguments).build(CONTEXT)


def test_every_loss_of_ours_that_is_named_instead_exists():
    assert set(OUR_NAMES.values()) < set(LOSSES)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("P2SGradLoss", {"num_classes": 3, "descriptors_dim": 6}),
        ("MarginLoss", {"learn_beta": True, "num_classes": 3}),
    ],
)
def test_any_other_loss_that_owns_parameters_is_refused(name, arguments):
    with pytest.raises(UserError, match=rf"{name} owns parameters, which neither the optimizer nor a checkpoint"):
        pml(name, arguments=arguments).build(CONTEXT)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"loss": "NTXenLoss"}, r"loss='NTXenLoss' is not one of: AngularLoss, .*Did you mean 'NTXentLoss'\?"),
        ({"loss": "CrossBatchMemory"}, r"loss='CrossBatchMemory' is not one of"),
        ({"loss": "BaseMetricLossFunction"}, r"is not one of"),
        (
            {"loss": "NTXentLoss", "miner": "MultiSimilarityMine"},
            r"miner='MultiSim.* Did you mean 'MultiSimilarityMiner'",
        ),
        ({"loss": "NTXentLoss", "arguments": {"temp": 1}}, r"NTXentLoss cannot be made with .*'temp'.* takes: \(temp"),
        ({"loss": "NTXentLoss", "miner": "AngularMiner", "miner_arguments": {"a": 1}}, r"AngularMiner cannot be made"),
    ],
)
def test_wrong_names_and_arguments_are_answered_with_the_right_ones(options, text):
    with pytest.raises(UserError, match=text):
        entry("pml", head="rank", **options).build(CONTEXT)


def test_arguments_without_a_miner_are_refused():
    with pytest.raises(ValueError, match=r"miner_arguments=\{'epsilon': 1\} need a miner"):
        pml("NTXentLoss", miner_arguments={"epsilon": 1})


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning", None)
    with pytest.raises(UserError, match=r"pip install pytorch-metric-learning"):
        pml("NTXentLoss").build(CONTEXT)


def test_inputs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"labels must be 12 whole numbers"):
        pml("NTXentLoss").build(CONTEXT)(vectors(), LABELS[:3])
