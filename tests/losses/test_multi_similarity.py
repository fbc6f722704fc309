"""Multi-similarity against loops, pytorch-metric-learning, and values worked out by hand."""

from __future__ import annotations

import math
from functools import partial

import oracles_softmax as oracles
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from loss_checks import LABELS, WORKED, assert_equals_oracle, assert_equals_peer, batches, unit_rows
from pytorch_metric_learning import losses as peers
from pytorch_metric_learning import miners as peer_miners

from shelfmark.losses import LossContext, entry
from shelfmark.losses.multi_similarity import MultiSimilarityLoss


@settings(max_examples=30, deadline=None)
@given(
    batch=batches(),
    weights=st.sampled_from([(2.0, 50.0, 0.5), (18.0, 75.0, 0.77), (1.0, 1.0, -0.3)]),
    miner=st.sampled_from(["none", "hard", "multi_similarity"]),
    epsilon=st.sampled_from([0.1, 0.6]),
)
def test_value_and_gradient_equal_the_loops_for_any_labels(batch, weights, miner, epsilon):
    # Which of two equal rows is the hardest is a matter of rounding.
    assume(miner != "hard" or len(batch.gallery.unique(dim=0)) == len(batch.gallery))
    alpha, beta, base = weights
    oracle = partial(oracles.multi_similarity, alpha=alpha, beta=beta, base=base, miner=miner, epsilon=epsilon)
    assert_equals_oracle(MultiSimilarityLoss(alpha, beta, base, miner, epsilon), oracle, batch)


def test_a_case_worked_out_by_hand():
    pull = 2 * math.log(1 + math.exp(-2 * (0.6 - 0.5))) / 2
    push_first = math.log(1 + math.exp(10 * (0.0 - 0.5))) / 10
    push_second = math.log(1 + math.exp(10 * (0.8 - 0.5))) / 10
    push_third = math.log(1 + math.exp(10 * (0.0 - 0.5)) + math.exp(10 * (0.8 - 0.5))) / 10
    expected = (pull + push_first + push_second + push_third) / 3
    assert float(MultiSimilarityLoss(beta=10.0)(*WORKED)) == pytest.approx(expected, rel=1e-14)


def test_the_miner_s_case_worked_out_by_hand():
    # Row 0: 0 is not above 0.6 - 0.1, nor is 0.6 below 0 + 0.1. Row 1: both count. Row 2 has no positive.
    expected = (math.log(1 + math.exp(-0.2)) / 2 + math.log(1 + math.exp(3)) / 10) / 3
    loss = MultiSimilarityLoss(beta=10.0, miner="multi_similarity")
    assert float(loss(*WORKED)) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("miner", ["none", "multi_similarity"])
def test_it_is_the_loss_of_pytorch_metric_learning(miner):
    x, labels = unit_rows(12, seed=1), torch.tensor([0, 1, 2, 0, 1, 0, 2, 0, 1, 2, 1, 0])

    def theirs(embedding, labels):
        kept = peer_miners.MultiSimilarityMiner(0.3)(embedding, labels) if miner != "none" else None
        return peers.MultiSimilarityLoss(2, 50, 0.5)(embedding, labels, kept)

    assert_equals_peer(MultiSimilarityLoss(miner=miner, epsilon=0.3), theirs, x, labels)


def test_a_shift_of_all_similarities_is_a_shift_of_the_base():
    x, labels = unit_rows(len(LABELS)), torch.tensor(LABELS)
    shifted = torch.cat([x, torch.full((len(LABELS), 1), 2.0, dtype=torch.float64)], dim=1)
    expected = MultiSimilarityLoss(base=0.5)(x, labels)
    torch.testing.assert_close(MultiSimilarityLoss(base=4.5)(shifted, labels), expected, rtol=1e-11, atol=0)


def test_random_mining_follows_the_run_s_seed_and_the_step():
    # All negatives lie between 0.5 and 1.4, where the draw is open.
    x, labels = unit_rows(40, 16, seed=2), torch.arange(10).repeat(4)
    config = entry("multi_similarity", head="rank", miner="distance_weighted")

    def value(seed: int, step: int) -> float:
        context = LossContext(counts=torch.ones(10, dtype=torch.int64), device=torch.device("cpu"), seed=seed)
        return float(config.build(context)(x, labels, step))

    assert value(0, 0) == value(0, 0)
    assert len({value(0, 0), value(1, 0), value(0, 1)}) == 3
    assert value(0, 0) < float(MultiSimilarityLoss()(x, labels))
