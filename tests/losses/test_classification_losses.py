"""What all classification losses share: rows without label, probabilities as targets, precision, weights."""

from __future__ import annotations

import math

import pytest
import torch
from loss_checks import assert_same, random_cosines, value_and_gradient

from shelfmark.core import dist
from shelfmark.losses.balanced_softmax import BalancedSoftmax
from shelfmark.losses.cdt import CDT
from shelfmark.losses.classification import ClassificationLoss
from shelfmark.losses.cross_entropy import CrossEntropy
from shelfmark.losses.focal import FocalLoss
from shelfmark.losses.inverse_softmax import InverseSoftmax
from shelfmark.losses.label_aware_smoothing import LabelAwareSmoothing
from shelfmark.losses.ldam import LDAM
from shelfmark.losses.logit_adjusted import LogitAdjusted
from shelfmark.losses.softmax_eql import SoftmaxEQL


def losses_of(counts, weight=None) -> dict[str, ClassificationLoss]:
    return {
        "cross_entropy": CrossEntropy(weight=weight),
        "smoothed": CrossEntropy(0.1, weight=weight),
        "focal": FocalLoss(0.5, weight),
        "ldam": LDAM(counts, weight=weight),
        "balanced_softmax": BalancedSoftmax(counts, weight),
        "logit_adjusted": LogitAdjusted(counts, 1.5, weight),
        "inverse_softmax": InverseSoftmax(counts, 1.5, weight),
        "cdt": CDT(counts, 0.3, weight),
        "softmax_eql": SoftmaxEQL(counts, 0.5, 0.2, weight),
        "label_aware_smoothing": LabelAwareSmoothing(counts, weight=weight),
    }


COUNTS = [100, 0, 20, 3]
WEIGHT = torch.tensor([1.0, 2.0, 0.5, 3.0])
NAMES = list(losses_of(COUNTS))
SOFT = [name for name in NAMES if name not in ("ldam", "softmax_eql")]
each_loss = pytest.mark.parametrize("name", NAMES)
# With smoothing the weights of other classes come in too, as in torch: see test_cross_entropy.
each_loss_of_the_label = pytest.mark.parametrize("name", [name for name in NAMES if name != "smoothed"])
# The draws of softmax_eql go by the place of a row.
each_loss_without_draws = pytest.mark.parametrize("name", [name for name in NAMES if name != "softmax_eql"])


def small_logits(num_rows: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return random_cosines(num_rows, 4, seed=seed).to(dtype)


@each_loss
def test_a_row_without_label_is_left_out(name):
    loss, logits = losses_of(COUNTS, WEIGHT)[name], small_logits(6, seed=1)
    # The last ones, so that the others keep their places.
    labels = torch.tensor([0, 3, 2, 1, -1, -1])
    value, gradient = value_and_gradient(loss, logits, labels)
    assert_same((value, gradient[:4]), value_and_gradient(loss, logits[:4], labels[:4]))
    assert not gradient[4:].any()


@each_loss
def test_a_batch_without_labels_or_rows_costs_exactly_nothing(name):
    for num_rows, weight in ((0, None), (3, None), (3, torch.ones(4))):
        loss = losses_of(COUNTS, weight)[name]
        value, gradient = value_and_gradient(loss, small_logits(num_rows, seed=2), torch.full((num_rows,), -1))
        assert float(value) == 0
        assert not gradient.any()


@each_loss_of_the_label
def test_rows_of_classes_that_weigh_nothing_cost_exactly_nothing(name):
    loss = losses_of(COUNTS, torch.tensor([1.0, 0.0, 1.0, 1.0]))[name]
    value, gradient = value_and_gradient(loss, small_logits(3, seed=3), torch.ones(3, dtype=torch.int64))
    assert float(value) == 0
    assert not gradient.any()


@each_loss_of_the_label
def test_the_mean_divides_by_the_batch_s_sum_of_class_weights(name):
    # softmax_eql draws by row, so each row is asked for where it stands.
    weight, logits, labels = torch.tensor([10.0, 1.0, 1.0, 1.0]), small_logits(3, seed=4), torch.tensor([0, 3, 2])
    alone = [torch.where(torch.arange(3) == row, labels, -1) for row in range(3)]
    of_rows = [float(losses_of(COUNTS)[name](logits, only)) for only in alone]
    expected = (10 * of_rows[0] + of_rows[1] + of_rows[2]) / 12
    assert float(losses_of(COUNTS, weight)[name](logits, labels)) == pytest.approx(expected, rel=1e-12)


@each_loss
def test_coarser_logits_are_computed_in_float32_whatever_autocast_says(name):
    loss, labels = losses_of(COUNTS, WEIGHT)[name], torch.tensor([0, 3, 2, 1, -1])
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 1e-2), (torch.float16, 1e-2)):
        logits = small_logits(5, seed=5, dtype=dtype)
        expected, expected_gradient = value_and_gradient(loss, logits.double(), labels)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value, gradient = value_and_gradient(loss, logits, labels)
        assert (value.dtype, expected.dtype, gradient.dtype) == (torch.float32, torch.float64, dtype)
        assert float(value) == pytest.approx(float(expected), rel=2e-6)
        torch.testing.assert_close(gradient.double(), expected_gradient, rtol=tolerance, atol=tolerance * 0.1)


@each_loss
def test_a_single_class_costs_nothing(name):
    value, gradient = value_and_gradient(losses_of([5])[name], small_logits(3, seed=6)[:, :1], torch.zeros(3).long())
    assert float(value) == pytest.approx(0, abs=1e-15)
    assert not gradient.any()


@each_loss
def test_logits_of_any_size_and_a_class_without_images_give_finite_numbers(name):
    # Class 1 has no training image, and is met all the same.
    logits = torch.tensor([[3e4, -3e4, 0, 1], [-3e4, 3e4, 1, 0], [0, 0, 0, 0]])
    for labels in ([0, 1, 2], [1, 1, 1], [3, 0, 1]):
        for dtype in (torch.float32, torch.float64):
            value, gradient = value_and_gradient(losses_of(COUNTS)[name], logits.to(dtype), torch.tensor(labels))
            assert math.isfinite(float(value))
            assert bool(gradient.isfinite().all())


@each_loss_without_draws
def test_the_order_of_the_rows_does_not_matter(name):
    logits, labels, order = small_logits(6, seed=7), torch.tensor([0, 3, 2, 1, -1, 0]), [3, 1, 5, 0, 2, 4]
    loss = losses_of(COUNTS, WEIGHT)[name]
    value, gradient = value_and_gradient(loss, logits, labels)
    assert_same(value_and_gradient(loss, logits[order], labels[order]), (value, gradient[order]))


@pytest.mark.parametrize("name", SOFT)
def test_probabilities_of_0_and_1_are_labels(name):
    loss, logits, labels = losses_of(COUNTS, WEIGHT)[name], small_logits(5, seed=8), torch.tensor([0, 3, 2, 1, -1])
    one_hot = (labels[:, None] == torch.arange(4)).float()
    assert_same(value_and_gradient(loss, logits, one_hot), value_and_gradient(loss, logits, labels))


@pytest.mark.parametrize("name", SOFT)
def test_a_mixture_of_two_labels_costs_the_mixture_of_what_they_cost(name):
    loss, logits, mixed = losses_of(COUNTS)[name], small_logits(3, seed=9), torch.tensor([0.25, 0.6, 1.0]).double()
    first, second = torch.tensor([0, 3, 2]), torch.tensor([1, 0, 3])
    classes = torch.arange(4)
    shares = mixed[:, None] * (first[:, None] == classes) + (1 - mixed)[:, None] * (second[:, None] == classes)
    expected = sum(
        float(part * loss(row[None], label[None])) / 3
        for row, label, part in [*zip(logits, first, mixed), *zip(logits, second, 1 - mixed)]
    )
    assert float(loss(logits, shares)) == pytest.approx(expected, rel=1e-12)


def test_class_weights_of_probabilities_count_by_their_share():
    logits, weight = small_logits(1, seed=10), torch.tensor([3.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    costs = [float(CrossEntropy()(logits, torch.tensor([label]))) for label in (0, 1)]
    value = CrossEntropy(weight=weight)(logits, torch.tensor([[0.5, 0.5, 0.0, 0.0]]))
    assert float(value) == pytest.approx((0.5 * 3 * costs[0] + 0.5 * costs[1]) / (0.5 * 3 + 0.5), rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_of_probabilities_is_torch_s(smoothing):
    logits, shares = small_logits(5, seed=11), small_logits(5, seed=12).softmax(1)
    expected = torch.nn.functional.cross_entropy(logits, shares, label_smoothing=smoothing)
    assert float(CrossEntropy(smoothing)(logits, shares)) == pytest.approx(float(expected), rel=1e-12)


@each_loss
def test_the_parts_of_two_processes_add_up_to_the_loss_of_one(name, monkeypatch):
    """Two processes, one after the other: each is told the sum of the weights that both would find."""
    logits, labels = small_logits(7, seed=13), torch.tensor([0, 3, 2, 1, -1, 0, 0])
    loss = losses_of(COUNTS, WEIGHT)[name]
    expected = value_and_gradient(loss, logits, labels)
    monkeypatch.setattr(dist, "world_size", lambda: 2)
    monkeypatch.setattr(dist, "sum_over_ranks", lambda of_rank: torch.full_like(of_rank, 1 + 3 + 0.5 + 2 + 1 + 1))
    monkeypatch.setattr(dist, "sum_of_parts", lambda part: part)
    values, gradients = [], []
    for first_row, rows in ((0, slice(0, 3)), (3, slice(3, 7))):
        monkeypatch.setattr(dist, "gather_keys", lambda own, first_row=first_row: (own, first_row))
        value, gradient = value_and_gradient(loss.over_ranks, logits[rows], labels[rows])
        values.append(value)
        gradients.append(gradient)
    assert_same((sum(values), torch.cat(gradients)), expected)


@pytest.mark.gpu
@each_loss
def test_a_gpu_finds_the_same(name):
    logits, labels = small_logits(6, seed=15, dtype=torch.float32), torch.tensor([0, 3, 2, 1, -1, 0])
    weight = torch.tensor([1.0, 2.0, 0.5, 3.0])
    expected, expected_gradient = value_and_gradient(losses_of(COUNTS, weight)[name], logits, labels)
    for device in ("cpu", "cuda"):
        loss = losses_of(torch.tensor(COUNTS, device=device), weight.to(device))[name]
        value, gradient = value_and_gradient(loss, logits.cuda(), labels.cuda())
        torch.testing.assert_close(value.cpu(), expected)
        torch.testing.assert_close(gradient.cpu(), expected_gradient)


def test_one_process_is_its_own_batch():
    logits, labels = small_logits(3, seed=14), torch.tensor([0, 3, 2])
    assert torch.equal(CrossEntropy().over_ranks(logits, labels, 2), CrossEntropy()(logits, labels))


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (torch.tensor([[0.5, 0.5, 0.0, 0.0]]), r"labels \(rows,\) or, as probabilities, \(rows, classes\)"),
        (torch.tensor([0.5, 0.5]), r"not \(2, 4\) and torch.float32 \(2,\)"),
        (torch.tensor([[0.5, 0.4, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]), r"sum to 1 in a row, or to 0 without label"),
        (torch.tensor([[1.5, -0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]), r"must be 0 or above"),
        (torch.tensor([[math.nan, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]), r"sum to 1"),
        (torch.tensor([0, 4]), r"labels lie in 0..4; 4 classes allow -1..3"),
        (torch.tensor([[0], [1]]), r"not \(2, 4\) and torch.int64 \(2, 1\)"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, text):
    with pytest.raises(ValueError, match=text):
        FocalLoss(1.0)(torch.zeros(2, 4), labels)


def test_probabilities_in_half_precision_are_taken():
    shares = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    value = CrossEntropy()(torch.zeros(1, 4), shares.bfloat16())
    assert float(value) == pytest.approx(math.log(4), rel=1e-6)


def test_the_base_says_nothing_of_rows():
    with pytest.raises(NotImplementedError):
        ClassificationLoss().losses(torch.zeros(1, 1), None)
