"""The softmax equalization loss: what is dropped, the value that follows, and the draws."""

from __future__ import annotations

import math

import numpy as np
import oracles_longtail as oracles
import pytest
import torch
from loss_checks import COUNTS, assert_alike, assert_same, random_logits, value_and_gradient

from shelfmark.losses.cross_entropy import CrossEntropy
from shelfmark.losses.softmax_eql import SoftmaxEQL


def dropped_classes(loss: SoftmaxEQL, num_rows: int, step: int = 0) -> torch.Tensor:
    """Where the gradient of rows of class 0 is exactly 0: (N, C) bool."""
    logits = torch.zeros(num_rows, len(loss.counts), dtype=torch.float64)
    return value_and_gradient(loss, logits, torch.zeros(num_rows, dtype=torch.int64), step)[1] == 0


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 0.5, 3.0, 0.25, 4.0]])
def test_value_and_gradient_equal_the_loops_over_the_classes_that_are_left(gamma, weight):
    logits, labels = random_logits(40, 6, seed=1), torch.arange(40) % 7 - 1
    # Shares .53 .27 .11 .053 .027 .011: the last three are the tail.
    loss = SoftmaxEQL(COUNTS, gamma, 0.06, None if weight is None else torch.tensor(weight), seed=3)
    value, gradient = value_and_gradient(loss, logits, labels)
    is_dropped = (gradient == 0).numpy()
    total, total_weight, expected_gradient = 0.0, 0.0, np.zeros(logits.shape)
    for row in np.flatnonzero(labels >= 0):
        label = int(labels[row])
        w = 1.0 if weight is None else weight[label]
        dropped = set(np.flatnonzero(is_dropped[row]))
        assert dropped <= {3, 4, 5} - {label}
        if gamma in (0.0, 1.0):
            assert dropped == ({3, 4, 5} - {label} if gamma else set())
        one, one_gradient = oracles.mean_over_rows(
            lambda z, y, dropped=dropped: oracles.softmax_eql(z, y, dropped), logits[row : row + 1].numpy(), [label]
        )
        total, total_weight = total + w * one, total_weight + w
        expected_gradient[row] = w * one_gradient[0]
    assert_same((value, gradient), (total / total_weight, expected_gradient / total_weight), rtol=1e-8)


def test_a_tail_class_pays_for_its_own_rows_only():
    # Shares of 0.9, 0.09 and 0.01, all logits equal: the loss is the logarithm of how many classes are left.
    loss, logits = SoftmaxEQL([90, 9, 1], gamma=1.0, threshold=0.1), torch.zeros(1, 3, dtype=torch.float64)
    for label, num_left in ((0, 1), (1, 2), (2, 2)):
        assert float(loss(logits, torch.tensor([label]))) == pytest.approx(math.log(num_left), abs=1e-15)


def test_a_class_exactly_at_the_threshold_is_not_of_the_tail():
    assert SoftmaxEQL([90, 10], 1.0, 0.1).tail.tolist() == []
    assert SoftmaxEQL([91, 9], 1.0, 0.1).tail.tolist() == [1]
    assert SoftmaxEQL([91, 0, 9], 1.0, 0.01).tail.tolist() == [1]


@pytest.mark.parametrize(
    ("counts", "gamma", "threshold"), [(COUNTS, 0.0, 1.0), (COUNTS, 0.9, 0.0), ([7] * 6, 0.9, 0.16)]
)
def test_without_a_tail_or_at_gamma_zero_it_is_cross_entropy(counts, gamma, threshold):
    logits, labels = random_logits(8, 6, seed=2), torch.arange(8) % 6
    assert_alike(SoftmaxEQL(counts, gamma, threshold), CrossEntropy(), logits, labels)


def test_each_tail_class_of_each_row_is_dropped_with_probability_gamma():
    dropped = dropped_classes(SoftmaxEQL([1000, *[1] * 20], gamma=0.7, threshold=0.01), num_rows=500)
    assert not bool(dropped[:, 0].any())
    shares = dropped[:, 1:].double()
    # 10,000 draws have a standard deviation of 0.0046, the 500 of a class 0.02, the 20 of a row 0.1.
    assert float(shares.mean()) == pytest.approx(0.7, abs=0.02)
    assert float((shares.mean(0) - 0.7).abs().max()) < 0.1
    assert 0.07 < float(shares.mean(1).std()) < 0.14


def test_draws_depend_on_the_seed_the_step_and_the_row_alone():
    loss = SoftmaxEQL(COUNTS, gamma=0.5, threshold=0.2, seed=1)
    dropped = dropped_classes(loss, 60, step=4)
    assert torch.equal(dropped, dropped_classes(loss, 60, step=4))
    assert torch.equal(dropped[:20], dropped_classes(loss, 20, step=4))
    assert not torch.equal(dropped, dropped_classes(loss, 60, step=5))
    assert not torch.equal(dropped, dropped_classes(SoftmaxEQL(COUNTS, 0.5, 0.2, seed=2), 60, step=4))
    assert not torch.equal(dropped[:30], dropped[30:])


def test_the_global_random_state_is_left_alone():
    state = torch.get_rng_state()
    dropped_classes(SoftmaxEQL(COUNTS, gamma=0.5, threshold=0.2), 5)
    assert torch.equal(torch.get_rng_state(), state)


def test_large_logits_of_a_dropped_class_do_not_matter():
    logits = torch.tensor([[3.0, 3000.0], [0.0, -3000.0]], requires_grad=True)
    value = SoftmaxEQL([99, 1], 1.0, 0.5)(logits, torch.tensor([0, 0]))
    value.backward()
    assert float(value.detach()) == 0
    assert logits.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_probabilities_are_refused():
    with pytest.raises(ValueError, match=r"SoftmaxEQL takes labels \(rows,\) of whole numbers"):
        SoftmaxEQL([1, 1], 0.5, 0.1)(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]]))
