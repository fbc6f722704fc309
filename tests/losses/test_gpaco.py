"""GPaCo against loops, against the losses that it contains, and by hand. Legend: N rows, C classes, S of a memory."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import oracles_contrast as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_checks import LABELS, SEEDS, assert_same, random_logits, unit_rows
from torch import Tensor

from shelfmark.losses import BalancedSoftmax, GPaCo, SupConLoss, pairs

COUNTS = [40, 9, 3, 0]
"""Of four classes, one of them without images."""
NOBODY = torch.tensor([], dtype=torch.int64)


def ours(
    loss: GPaCo, logits: Tensor, labels: Tensor, vectors: Tensor, remembered: Tensor, remembered_labels: Tensor
) -> Tensor:
    memory = (remembered, remembered_labels) if len(remembered) else None
    return loss.over_ranks(logits, labels, vectors, memory=memory)


def by_loops(
    logits: Tensor, labels: Tensor, vectors: Tensor, remembered: Tensor, remembered_labels: Tensor, **options: Any
) -> Tensor:
    gallery_labels = [*labels.tolist(), *remembered_labels.tolist()]
    gallery = torch.cat([vectors, remembered])
    return oracles.gpaco(oracles.Rows(logits, vectors, labels.tolist(), gallery, gallery_labels), **options)


def value_and_gradients(
    function: Any, logits: Tensor, labels: Tensor, vectors: Tensor, *memory: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The value, and the gradients by logits and vectors."""
    logits, vectors = (tensor.detach().clone().requires_grad_() for tensor in (logits, vectors))
    value = function(logits, labels, vectors, *memory)
    return value.detach(), *torch.autograd.grad(value, (logits, vectors))


OPTIONS = st.fixed_dictionaries(
    {
        "alpha": st.sampled_from([0.0, 0.05, 2.0]),
        "beta": st.sampled_from([0.3, 1.0]),
        "temperature": st.sampled_from([0.1, 0.2, 1.5]),
        "center_temperature": st.sampled_from([0.5, 1.0]),
    }
)


@settings(max_examples=50, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 3), min_size=1, max_size=9),
    remembered=st.lists(st.integers(-1, 3), max_size=5),
    options=OPTIONS,
    seed=SEEDS,
)
def test_value_and_gradient_equal_the_loops_with_and_without_a_memory(labels, remembered, options, seed):
    case = (
        random_logits(len(labels), 4, seed),
        torch.tensor(labels),
        unit_rows(len(labels), seed=seed),
        unit_rows(len(remembered), seed=seed + 1),
        torch.tensor(remembered, dtype=torch.int64),
    )
    found = value_and_gradients(partial(ours, GPaCo(COUNTS, **options)), *case)
    expected = value_and_gradients(partial(by_loops, counts=COUNTS, **options), *case)
    assert_same(found, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("labels", "counts"),
    [
        ([0, 1, 2, 3], [5, 4, 3, 2]),  # no row has another of its class
        ([2, 2, 2, 2, 2], [5, 4, 3, 2]),  # one class in the batch
        ([0, 0, 0], [7]),  # one class in all
        ([1], [5, 4]),  # one row
        ([1, -1, -1], [5, 4]),  # one row with a label
        ([-1, -1], [5, 4]),  # none
    ],
)
def test_extreme_batches_equal_the_loops(labels, counts):
    logits, vectors = random_logits(len(labels), len(counts), seed=2), unit_rows(len(labels), seed=2)
    case = (logits, torch.tensor(labels), vectors, unit_rows(0), NOBODY)
    found = value_and_gradients(partial(ours, GPaCo(counts)), *case)
    expected = value_and_gradients(partial(by_loops, counts=counts), *case)
    assert all(mine.isfinite().all() for mine in found)
    assert_same(found, expected)


def test_a_case_worked_out_by_hand():
    # Two rows of class 0 at a right angle, two classes of the same size, logits 0 but for ln 2 at class 0 of the first.
    logits = torch.tensor([[math.log(2), 0.0], [0.0, 0.0]], dtype=torch.float64)
    value = GPaCo([3, 3], alpha=0.5)(logits, torch.tensor([0, 0]), torch.eye(2, dtype=torch.float64))
    # Entries of the first row's softmax: 2 / 2, 1 / 2 and the other row's e^0; of the second: 1 / 2, 1 / 2 and 1.
    first = -(math.log(1 / 2.5) + 0.5 * math.log(1 / 2.5)) / 1.5
    second = -(math.log(0.5 / 2) + 0.5 * math.log(1 / 2)) / 1.5
    assert float(value) == pytest.approx((first + second) / 2, rel=1e-14)


def test_a_row_alone_is_balanced_softmax():
    logits, labels = random_logits(5, 4), torch.tensor([0, 1, 2, 3, 1])
    alone = [GPaCo(COUNTS)(logits[i : i + 1], labels[i : i + 1], unit_rows(1)) for i in range(5)]
    expected = BalancedSoftmax(COUNTS)(logits, labels)
    assert float(torch.stack(alone).mean()) == pytest.approx(float(expected), rel=1e-12)


def test_where_the_classes_count_little_it_is_supervised_contrast():
    labels, vectors = torch.tensor([0, 1, 0, 1, 2, 2]), unit_rows(6)
    # Logits of -1000 leave the softmax, and a small beta leaves the mean over the positives.
    loss = GPaCo(COUNTS, alpha=1.0, beta=1e-15, temperature=0.1)
    value = loss(torch.full((6, 4), -1000.0, dtype=torch.float64), labels, vectors)
    assert float(value) == pytest.approx(float(SupConLoss(0.1)(vectors, labels)), rel=1e-10)


def test_scaling_all_counts_changes_nothing_but_for_empty_classes():
    case = random_logits(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]), unit_rows(6)
    few, many = GPaCo([4, 2, 1, 1])(*case), GPaCo([400, 200, 100, 100])(*case)
    assert float(few) == pytest.approx(float(many), rel=1e-12)


def test_the_order_of_rows_changes_nothing():
    logits, labels, vectors = random_logits(len(LABELS), 4), torch.tensor(LABELS), unit_rows(len(LABELS))
    order = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(3))
    value = GPaCo(COUNTS)(logits, labels, vectors)
    shuffled = GPaCo(COUNTS)(logits[order], labels[order], vectors[order])
    assert float(shuffled) == pytest.approx(float(value), rel=1e-12)


def test_a_rare_class_needs_a_larger_logit_in_training():
    # Equal logits: the row of the rare class costs more, by the logarithm of how much rarer it is.
    loss, logits, vectors = GPaCo([90, 10]), torch.zeros(1, 2, dtype=torch.float64), unit_rows(1)
    costs = [float(loss(logits, torch.tensor([label]), vectors)) for label in (0, 1)]
    assert costs[1] - costs[0] == pytest.approx(math.log(9), rel=1e-12)


def test_rows_without_a_label_change_nothing():
    logits, vectors = random_logits(6, 4), unit_rows(6)
    labels = torch.tensor([0, 1, 0, 1, -1, -1])
    value, by_logits, by_vectors = value_and_gradients(GPaCo(COUNTS), logits, labels, vectors)
    assert float(value) == pytest.approx(float(GPaCo(COUNTS)(logits[:4], labels[:4], vectors[:4])), rel=1e-12)
    assert not by_logits[4:].any()
    assert not by_vectors[4:].any()
    assert by_logits[:4].any(1).all()


def test_without_any_label_it_is_zero_and_so_is_the_gradient():
    case = random_logits(3, 4), torch.tensor([-1, -1, -1]), unit_rows(3)
    assert [float(found.abs().sum()) for found in value_and_gradients(GPaCo(COUNTS), *case)] == [0, 0, 0]


def test_blocks_change_nothing(monkeypatch):
    case = random_logits(len(LABELS), 4), torch.tensor(LABELS), unit_rows(len(LABELS))
    whole = value_and_gradients(GPaCo(COUNTS), *case)
    monkeypatch.setattr(pairs, "_BLOCK_BYTES", {"cpu": 3 * 8 * len(LABELS)})
    assert_same(value_and_gradients(GPaCo(COUNTS), *case), whole)


def test_float32_keeps_its_digits_with_logits_of_any_size():
    logits, labels, vectors = 100 * random_logits(len(LABELS), 4), torch.tensor(LABELS), unit_rows(len(LABELS))
    logits, vectors = logits.float(), vectors.float()
    loss = GPaCo(COUNTS, temperature=0.05)
    found = value_and_gradients(loss, logits, labels, vectors)
    expected = value_and_gradients(loss, logits.double(), labels, vectors.double())
    for mine, theirs in zip(found, expected):
        assert mine.dtype == torch.float32
        assert mine.isfinite().all()
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-5, atol=1e-6 * float(theirs.abs().max()))


def test_bfloat16_logits_are_computed_in_float32_and_get_a_gradient_of_their_own_type():
    logits, labels, vectors = random_logits(6, 4).bfloat16(), torch.tensor([0, 1, 0, 1, 2, 2]), unit_rows(6).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, by_logits, by_vectors = value_and_gradients(GPaCo(COUNTS), logits, labels, vectors)
    assert (value.dtype, by_logits.dtype, by_vectors.dtype) == (torch.float32, torch.bfloat16, torch.float32)
    assert float(value) == pytest.approx(float(GPaCo(COUNTS)(logits.double(), labels, vectors.double())), rel=1e-6)


def test_nothing_as_large_as_the_logits_is_kept_beside_them():
    logits, labels, vectors = random_logits(6, num_classes=50).requires_grad_(), torch.arange(6) % 3, unit_rows(6)
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        GPaCo(range(1, 51))(logits, labels, vectors)
    assert {tensor.data_ptr() for tensor in kept if tensor.numel() >= logits.numel()} == {logits.data_ptr()}


def test_shapes_that_do_not_fit_are_refused():
    labels, vectors = torch.tensor([0, 1]), unit_rows(2)
    with pytest.raises(ValueError, match=r"logits must be \(rows, 4 classes\), not \(2, 3\)"):
        GPaCo(COUNTS)(random_logits(2, 3), labels, vectors)
    with pytest.raises(ValueError, match="4 classes allow"):
        GPaCo(COUNTS)(random_logits(2, 4), torch.tensor([0, 4]), vectors)
    with pytest.raises(ValueError, match="labels must be 3 whole numbers"):
        GPaCo(COUNTS)(random_logits(2, 4), labels, unit_rows(3))
