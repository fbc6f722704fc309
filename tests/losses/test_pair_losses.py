"""What holds for every loss over pairs. What is particular to one stands in that loss's own test."""

from __future__ import annotations

from functools import partial

import oracles_softmax as oracles
import pytest
import torch
from loss_checks import LABELS, assert_equals_oracle, assert_same, loss_of, unit_rows, value_and_gradient, whole_batch
from test_contrastive import contrastive_by_loops
from test_lifted_structure import lifted_by_loops
from test_triplet import triplet_by_loops
from torch.nn.functional import normalize

from shelfmark.losses import pairs
from shelfmark.losses.angular import AngularLoss
from shelfmark.losses.circle import CircleLoss, PairCosFaceLoss
from shelfmark.losses.contrastive import ContrastiveLoss
from shelfmark.losses.lifted_structure import LiftedStructureLoss
from shelfmark.losses.multi_similarity import MultiSimilarityLoss
from shelfmark.losses.n_pair import NPairLoss
from shelfmark.losses.nt_xent import NTXentLoss
from shelfmark.losses.ranked_list import RankedListLoss
from shelfmark.losses.sup_con import SupConLoss
from shelfmark.losses.triplet import TripletLoss

LOSSES = {
    "nt_xent": (NTXentLoss(), oracles.nt_xent),
    "n_pair": (NPairLoss(0.3), partial(oracles.n_pair, l2_weight=0.3)),
    "sup_con": (SupConLoss(), oracles.sup_con),
    "multi_similarity": (MultiSimilarityLoss(), oracles.multi_similarity),
    "multi_similarity mined": (
        MultiSimilarityLoss(miner="multi_similarity"),
        partial(oracles.multi_similarity, miner="multi_similarity"),
    ),
    "circle": (CircleLoss(), oracles.circle),
    "pair_cosface": (PairCosFaceLoss(), oracles.pair_cosface),
    "angular": (AngularLoss(), oracles.angular),
    "ranked_list": (RankedListLoss(), oracles.ranked_list),
    "lifted_structure": (LiftedStructureLoss(), lifted_by_loops),
    **{
        f"contrastive {loss.distance} {loss.miner}": (loss, partial(contrastive_by_loops, loss))
        for loss in (
            ContrastiveLoss(),
            ContrastiveLoss("euclidean", miner="hard"),
            ContrastiveLoss(miner="semihard"),
            ContrastiveLoss("euclidean", miner="multi_similarity"),
            ContrastiveLoss(miner="distance_weighted"),
        )
    },
    **{
        f"triplet {loss.mining} {loss.margin}": (loss, partial(triplet_by_loops, loss))
        for loss in (
            TripletLoss(),
            TripletLoss(0.0),
            TripletLoss(mining="semihard"),
            TripletLoss(mining="hard", distance="cosine"),
            TripletLoss(0.0, "soft", "squared_euclidean"),
            TripletLoss(mining="distance_weighted"),
        )
    },
}
of_every_loss = pytest.mark.parametrize("name", LOSSES)


@of_every_loss
def test_blocks_change_nothing(name, monkeypatch):
    loss, _ = LOSSES[name]
    x, labels = unit_rows(len(LABELS)), torch.tensor(LABELS)
    value, gradient = value_and_gradient(loss, x, labels, step=3)
    monkeypatch.setattr(pairs, "_BLOCK_BYTES", {"cpu": 4 * len(LABELS) * 8})
    found = value_and_gradient(lambda x: 3 * loss(x, labels, step=3), x)
    assert_same(found, (3 * value, 3 * gradient), rtol=1e-11)


@pytest.mark.parametrize("name", [name for name in LOSSES if "distance_weighted" not in name])
def test_the_order_of_the_rows_changes_nothing(name):
    loss, _ = LOSSES[name]
    x, labels = unit_rows(len(LABELS), seed=1), torch.tensor(LABELS)
    order = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(2))
    value, gradient = value_and_gradient(loss, x, labels)
    assert_same(value_and_gradient(loss, x[order], labels[order]), (value, gradient[order]))


@of_every_loss
def test_rows_without_label_change_nothing_and_get_no_gradient(name):
    loss, _ = LOSSES[name]
    x, labels = unit_rows(14, seed=3), torch.tensor([0, 1, 0, 2, 1, 1, 2, 3, 0, 2, -1, -1, -1, -1])
    value, gradient = value_and_gradient(loss, x, labels)
    assert_same((value, gradient[:10]), value_and_gradient(loss, x[:10], labels[:10]))
    assert gradient[10:].abs().max() == 0


@of_every_loss
def test_coarser_rows_are_computed_in_float32_under_autocast_too_and_similar_ones_keep_their_digits(name):
    loss, _ = LOSSES[name]
    labels = torch.arange(8).repeat(4)
    for x in (unit_rows(32, 16, seed=4), normalize(1 + 0.3 * unit_rows(32, 16, seed=5))):
        expected, expected_gradient = value_and_gradient(loss, x.float().double(), labels)
        value, gradient = value_and_gradient(loss, x.float(), labels)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), expected, rtol=2e-5, atol=1e-6)
        assert (gradient - expected_gradient).abs().max() < 2e-4 * expected_gradient.abs().max()
    for dtype in (torch.float16, torch.bfloat16):
        x = unit_rows(32, 16, seed=6).to(dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value, gradient = value_and_gradient(loss, x, labels)
        expected, expected_gradient = value_and_gradient(loss, x.float(), labels)
        assert value == expected
        assert gradient.dtype == dtype
        # As queries and as gallery the rows have a gradient each, rounded to `dtype` before the two are added.
        assert (gradient - expected_gradient).abs().max() < 2 * torch.finfo(dtype).eps * expected_gradient.abs().max()


@of_every_loss
def test_batches_without_a_contrast_and_collapsed_ones_follow_the_formula(name):
    loss, oracle = LOSSES[name]
    collapsed, zero = torch.full((4, 4), 0.5, dtype=torch.float64), torch.zeros(4, 4, dtype=torch.float64)
    for labels in ([5], [0, 1, 2], [3, 3, 3], [-1, -1], [0, 0, -1, 1]):
        assert_equals_oracle(loss, oracle, whole_batch(unit_rows(len(labels)), labels))
    for rows, labels in ((collapsed, [0, 0, -1, 1]), (collapsed, [3, 3, 3, 3]), (zero, [0, 0, -1, 1])):
        assert_equals_oracle(loss, oracle, whole_batch(rows, labels))
        # No step of the backward pass is NaN, not even one that a mask hides.
        with torch.autograd.set_detect_anomaly(True):
            value_and_gradient(loss, rows, torch.tensor(labels))


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
def test_opposite_and_long_vectors_stay_finite_in_float32(name):
    loss, _ = LOSSES[name]
    for length in (1.0, 30.0):
        x = length * torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
        value, gradient = value_and_gradient(loss, x, torch.tensor([0, 0, 1, 1, 1]))
        assert value.isfinite()
        assert gradient.isfinite().all()
