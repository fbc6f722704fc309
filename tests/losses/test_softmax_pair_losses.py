"""What holds for every softmax-type pair loss. What is particular to one stands in that loss's own test."""

from __future__ import annotations

from functools import partial

import oracles_softmax as oracles
import pytest
import torch
from pair_cases import LABELS, assert_equals_oracle, loss_of, unit_rows, value_and_gradient, whole_batch
from torch.nn.functional import normalize

from shelfmark.losses import pairs
from shelfmark.losses.angular import AngularLoss
from shelfmark.losses.circle import CircleLoss, PairCosFaceLoss
from shelfmark.losses.multi_similarity import MultiSimilarityLoss
from shelfmark.losses.n_pair import NPairLoss
from shelfmark.losses.nt_xent import NTXentLoss
from shelfmark.losses.ranked_list import RankedListLoss
from shelfmark.losses.sup_con import SupConLoss

LOSSES = {
    "nt_xent": (NTXentLoss(), oracles.nt_xent),
    "n_pair": (NPairLoss(0.3), partial(oracles.n_pair, l2_weight=0.3)),
    "sup_con": (SupConLoss(), oracles.sup_con),
    "multi_similarity": (MultiSimilarityLoss(), oracles.multi_similarity),
    "multi_similarity_mined": (
        MultiSimilarityLoss(miner="multi_similarity"),
        partial(oracles.multi_similarity, miner="multi_similarity"),
    ),
    "circle": (CircleLoss(), oracles.circle),
    "pair_cosface": (PairCosFaceLoss(), oracles.pair_cosface),
    "angular": (AngularLoss(), oracles.angular),
    "ranked_list": (RankedListLoss(), oracles.ranked_list),
}


of_every_loss = pytest.mark.parametrize("name", LOSSES)


@of_every_loss
@pytest.mark.parametrize("rows_per_block", [1, 3])
def test_blocks_change_nothing(name, rows_per_block, monkeypatch):
    loss, _ = LOSSES[name]
    x, labels = unit_rows(len(LABELS)), torch.tensor(LABELS)
    expected, expected_gradient = value_and_gradient(loss, x, labels)
    monkeypatch.setattr(pairs, "_BLOCK_BYTES", {"cpu": rows_per_block * len(LABELS) * 8})
    value, gradient = value_and_gradient(loss, x, labels)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-10, atol=1e-12)


@of_every_loss
def test_the_order_of_the_rows_changes_nothing(name):
    loss, _ = LOSSES[name]
    x, labels = unit_rows(len(LABELS), seed=1), torch.tensor(LABELS)
    order = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(2))
    value, gradient = value_and_gradient(loss, x, labels)
    shuffled, shuffled_gradient = value_and_gradient(loss, x[order], labels[order])
    torch.testing.assert_close(shuffled, value, rtol=1e-12, atol=0)
    torch.testing.assert_close(shuffled_gradient, gradient[order], rtol=1e-10, atol=1e-12)


@of_every_loss
def test_rows_without_label_change_nothing_and_get_no_gradient(name):
    loss, _ = LOSSES[name]
    x, labels = unit_rows(14, seed=3), torch.tensor([0, 1, 0, 2, 1, 1, 2, 3, 0, 2, -1, -1, -1, -1])
    expected, expected_gradient = value_and_gradient(loss, x[:10], labels[:10])
    value, gradient = value_and_gradient(loss, x, labels)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient[:10], expected_gradient, rtol=1e-10, atol=1e-12)
    assert gradient[10:].abs().max() == 0


@of_every_loss
def test_float32_agrees_with_float64_also_on_similar_rows(name):
    loss, _ = LOSSES[name]
    labels = torch.arange(8).repeat(4)
    for x in (unit_rows(32, 16, seed=4), normalize(1 + 0.3 * unit_rows(32, 16, seed=5))):
        x = x.float().double()
        expected, expected_gradient = value_and_gradient(loss, x, labels)
        value, gradient = value_and_gradient(loss, x.float(), labels)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), expected, rtol=2e-5, atol=1e-6)
        assert (gradient - expected_gradient).abs().max() < 2e-4 * expected_gradient.abs().max()


@of_every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_under_autocast_too(name, dtype):
    loss, _ = LOSSES[name]
    x, labels = unit_rows(len(LABELS), 16, seed=6).to(dtype), torch.tensor(LABELS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradient = value_and_gradient(loss, x, labels)
    expected, expected_gradient = value_and_gradient(loss, x.float(), labels)
    assert value == expected
    assert gradient.dtype == dtype
    # As queries and as gallery the rows have a gradient each, rounded to `dtype` before the two are added.
    assert (gradient - expected_gradient).abs().max() < 2 * torch.finfo(dtype).eps * expected_gradient.abs().max()


@of_every_loss
@pytest.mark.parametrize("labels", [[5], [0, 1, 2], [3, 3, 3], [-1, -1], [0, 0, -1, 1]])
@pytest.mark.parametrize("rows", ["apart", "collapsed", "zero"])
def test_batches_without_a_contrast_and_collapsed_ones_follow_the_formula(name, labels, rows):
    loss, oracle = LOSSES[name]
    x = {"apart": unit_rows(len(labels)), "collapsed": unit_rows(1).expand(len(labels), 5), "zero": torch.zeros(4, 5)}
    # No step of the backward pass is NaN, not even one that a mask hides.
    with torch.autograd.set_detect_anomaly(True):
        assert_equals_oracle(loss, oracle, whole_batch(x[rows][: len(labels)].double(), labels))


@of_every_loss
@pytest.mark.parametrize("gallery_labels", [[0, 0, 1, 1], []])
def test_a_process_without_rows_adds_nothing(name, gallery_labels):
    loss, _ = LOSSES[name]
    gallery = unit_rows(len(gallery_labels)).requires_grad_()
    labels = torch.tensor(gallery_labels, dtype=torch.int64)
    none = torch.arange(0)
    value = loss_of(loss, oracles.Batch(gallery[none], labels[none], gallery, labels, none))
    (gradient,) = torch.autograd.grad(value, gallery)
    assert value == 0
    assert not gradient.any()


@of_every_loss
@pytest.mark.parametrize("length", [1.0, 30.0])
def test_opposite_and_long_vectors_stay_finite_in_float32(name, length):
    loss, _ = LOSSES[name]
    x = length * torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    value, gradient = value_and_gradient(loss, x, torch.tensor([0, 0, 1, 1, 1]))
    assert value.isfinite()
    assert gradient.isfinite().all()
