"""The contrastive loss against loops over pairs, cases worked out by hand, and pytorch-metric-learning's."""

from __future__ import annotations

import math
from functools import partial

import oracles_pairs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_checks import SEEDS, Batch, assert_equals_oracle, assert_same, batches, rows_of, unit_rows, value_and_gradient
from pytorch_metric_learning import losses as peers
from pytorch_metric_learning.distances import DotProductSimilarity, LpDistance
from torch import Tensor

from shelfmark.core.rng import derive_seed
from shelfmark.losses.contrastive import ContrastiveLoss

MINERS = ["none", "hard", "semihard", "multi_similarity", "distance_weighted"]
MARGINS = {"dot": (1.0, 0.5), "euclidean": (0.0, 1.0)}


def contrastive_by_loops(loss: ContrastiveLoss, batch: Batch, step: int = 0) -> Tensor:
    margins = [
        default if margin is None else margin
        for margin, default in zip((loss.positive_margin, loss.negative_margin), MARGINS[loss.distance])
    ]
    seed = derive_seed(loss.seed, "distance_weighted")
    options = {"miner": loss.miner, "epsilon": loss.epsilon, "seed": seed, "step": step}
    return oracles_pairs.contrastive(rows_of(batch), loss.distance, *margins, **options)


@settings(max_examples=50, deadline=None)
@given(
    batch=batches(exact=True),
    distance=st.sampled_from(["dot", "euclidean"]),
    margins=st.sampled_from([(None, None), (0.7, 0.2), (0.0, 1.4)]),
    miner=st.sampled_from(MINERS),
    seed=SEEDS,
)
def test_value_and_gradient_equal_the_loops_for_any_labels(batch, distance, margins, miner, seed):
    loss = ContrastiveLoss(distance, *margins, miner=miner, epsilon=0.2, seed=seed)
    assert_equals_oracle(loss, partial(contrastive_by_loops, loss, step=seed % 7), batch, step=seed % 7, rtol=1e-9)


@pytest.mark.parametrize("margins", [(1.0, 0.5), (0.3, 1.2)])
@pytest.mark.parametrize(
    ("distance", "theirs"),
    [
        ("dot", DotProductSimilarity(normalize_embeddings=False)),
        ("euclidean", LpDistance(normalize_embeddings=False)),
    ],
)
def test_it_is_that_of_pytorch_metric_learning(distance, theirs, margins):
    x, y = unit_rows(36, 6, seed=4), torch.tensor([row % 7 + row % 2 for row in range(36)])
    expected = value_and_gradient(peers.ContrastiveLoss(*margins, distance=theirs), x, y)
    assert_same(value_and_gradient(ContrastiveLoss(distance, *margins), x, y), expected, rtol=1e-8, atol=1e-10)


ROWS = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6], [-1.0, 0.0]], dtype=torch.float64)
ROW_LABELS = torch.tensor([0, 0, 1, 1])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        # Positive pairs have s = 0.6 and -0.8, negative ones 0.8, -1, 0.96 and -0.6, each in both directions.
        (ContrastiveLoss(), (0.4 + 1.8) / 2 + (0.3 + 0.46) / 2),
        (ContrastiveLoss("dot", 0.5, 0.9), 1.3 + 0.06),
        (ContrastiveLoss("dot", -1.0, 0.97), 0),
        (
            ContrastiveLoss("euclidean"),
            (math.sqrt(0.8) + math.sqrt(3.6)) / 2 + (1 - math.sqrt(0.4) + 1 - math.sqrt(0.08)) / 2,
        ),
        # The hardest negatives are at 0.8, 0.96, 0.96 and -0.6.
        (ContrastiveLoss(miner="hard"), (0.4 + 1.8) / 2 + (0.3 + 2 * 0.46) / 3),
    ],
)
def test_a_case_worked_out_by_hand(loss, expected):
    assert float(loss(ROWS, ROW_LABELS)) == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_one_class_alone_has_only_the_positive_term_and_single_images_only_the_negative_one():
    x = ROWS[:3]
    value = ContrastiveLoss()(x, torch.tensor([5, 5, 5]))
    assert float(value) == pytest.approx((0.4 + 0.2 + 0.04) / 3)
    value = ContrastiveLoss()(x, torch.tensor([5, 6, 7]))
    assert float(value) == pytest.approx((0.1 + 0.3 + 0.46) / 3)
