"""What every loss does with rows without label, rows that are not finite, and labels of other kinds.

Legend: N rows, C classes, K proxies a class. The losses are those of the table in `test_over_ranks`.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from test_over_ranks import COMPARING, LOSSES, STEP, WAYS, arguments, batch_of, memory_rows, proxies
from torch import Tensor
from torch.nn.functional import cross_entropy

from shelfmark.core.errors import UserError
from shelfmark.losses import ArcFaceLoss, CrossEntropy, FocalLoss, ProxyAnchorLoss
from shelfmark.ops.labelled import labelled_rows

LABELS = (0, 1, 0, 2, -1, 0, 2, 1, 1, 0, 9, -1, -1)
"""A row without label among the others, which keeps the place of those behind it, and two at the end."""
NUM_CLASSES = 10
each_loss = pytest.mark.parametrize("name", LOSSES)
each_way = pytest.mark.parametrize("name", WAYS)


def found(name: str, rows: Tensor, labels: Tensor, how: str = "call", **options: Any) -> list[Tensor]:
    """The loss and its gradients, by the rows and by the proxies where there are some."""
    kind, loss = LOSSES[name]
    rows = rows.detach().clone().requires_grad_()
    leaves = [rows]
    first, more = arguments(kind, rows)
    if kind == "proxies":
        leaves.append(proxies(rows.dtype).requires_grad_())
        more = (leaves[1],)
    value = (
        loss.over_ranks(first, labels, *more, step=STEP, **options)
        if how == "over_ranks"
        else loss(first, labels, *more)
    )
    return [value.detach(), *torch.autograd.grad(value, leaves)]


def spoiled(rows: Tensor, which: Tensor) -> Tensor:
    """One value of these rows is NaN, inf, -inf, NaN ..."""
    broken = rows.clone()
    for place, row in enumerate(which.nonzero()[:, 0].tolist()):
        broken[row, place] = (math.nan, math.inf, -math.inf)[place % 3]
    return broken


def batch(name: str, labels: tuple[int, ...] = LABELS) -> tuple[Tensor, Tensor]:
    return batch_of(LOSSES[name][0], labels, torch.float64)


@each_loss
def test_a_row_without_label_takes_no_part_whatever_it_holds(name: str) -> None:
    rows, labels = batch(name)
    broken = spoiled(rows, labels == -1)
    for how in ("call", "over_ranks"):
        expected, without = found(name, rows, labels, how), found(name, rows[:-2], labels[:-2], how)
        for one, same, shorter in zip(found(name, broken, labels, how), expected, without):
            assert torch.equal(one, same)
            kept = one[: len(shorter)] if one.ndim and len(one) == len(rows) else one
            torch.testing.assert_close(kept, shorter, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", COMPARING)
def test_a_row_of_a_memory_without_label_takes_no_part_whatever_it_holds(name: str) -> None:
    vectors, labels = memory_rows()
    memories = [(vectors, labels), (spoiled(vectors, labels == -1), labels)]
    expected, same = [found(name, *batch(name), "over_ranks", memory=memory) for memory in memories]
    assert all(torch.equal(one, other) for one, other in zip(expected, same))


@each_way
def test_rows_with_a_label_that_are_not_finite_are_named_and_make_the_loss_of_all_processes_nan(name: str) -> None:
    rows, labels = batch(name)
    broken = spoiled(rows, torch.isin(torch.arange(len(rows)), torch.tensor([1, 3, 9])))
    with pytest.raises(UserError, match=r"not finite in rows 1, 3, 9 of 13.*optim\.lr"):
        found(name, broken, labels)
    for row in (1, 3, 9):
        one = torch.where((torch.arange(len(rows)) == row)[:, None], broken, rows)
        value, gradient, *_ = found(name, one, labels, "over_ranks")
        assert value.isnan()
        assert not gradient.isfinite().all()


@pytest.mark.parametrize("name", COMPARING)
def test_a_memory_that_is_not_finite_makes_the_loss_nan(name: str) -> None:
    vectors, labels = memory_rows()
    vectors[0, 0] = math.nan
    assert found(name, *batch(name), "over_ranks", memory=(vectors, labels))[0].isnan()


@each_way
def test_whole_numbers_of_every_kind_are_labels(name: str) -> None:
    # As many rows as classes: bytes would choose rows as a mask does.
    rows, labels = batch(name, (0, 1, 0, 2, 1, 0, 2, 2, 1, 1))
    expected = found(name, rows, labels)
    for dtype in (torch.uint8, torch.int16, torch.int32):
        for one, same in zip(found(name, rows, labels.to(dtype)), expected):
            assert torch.equal(one, same)
    over_ranks = [found(name, rows, given, "over_ranks") for given in (labels, labels.byte())]
    assert all(torch.equal(one, same) for one, same in zip(*over_ranks))
    assert expected[0].isfinite()


@each_way
def test_other_kinds_and_numbers_that_are_no_class_are_refused(name: str) -> None:
    rows, labels = batch(name)
    wrong = [
        (labels.bool(), r"torch\.bool"),
        (labels.double(), r"torch\.float64|not probabilities"),
        (labels.clone().index_fill_(0, torch.tensor(2), -2), r"labels lie in -2\.\.9"),
    ]
    if LOSSES[name][0] != "vectors":
        wrong.append(
            (labels.clone().index_fill_(0, torch.tensor(2), NUM_CLASSES), r"labels lie in -1\.\.10; 10 classes")
        )
    for given, text in wrong:
        for how in ("call", "over_ranks"):
            with pytest.raises(ValueError, match=text):
                found(name, rows, given, how)


def test_cross_entropy_is_torch_s_with_an_ignored_row_of_any_logits() -> None:
    logits, labels = batch("cross_entropy")
    logits[4], logits[11], logits[12, 3] = -math.inf, math.nan, math.inf
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    value, expected = CrossEntropy()(ours, labels), cross_entropy(theirs, labels, ignore_index=-1)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    value.backward()
    cross_entropy(theirs.nan_to_num(0, 0, 0), labels, ignore_index=-1).backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-15)


def test_probabilities_of_no_class_leave_a_row_out_whatever_its_logits() -> None:
    logits, labels = batch("cross_entropy")
    shares = (labels[:, None] == torch.arange(NUM_CLASSES)).double()
    expected = CrossEntropy(0.1)(logits, shares)
    logits[labels == -1] = -math.inf
    assert CrossEntropy(0.1)(logits, shares) == expected
    logits[2, 0] = math.nan
    with pytest.raises(UserError, match="rows 2 of 13"):
        CrossEntropy(0.1)(logits, shares)


def test_several_proxies_a_class_are_no_other_case() -> None:
    cosine, labels = batch("proxy_anchor")
    cosine = torch.stack([cosine, cosine.flip(1)], dim=2)
    expected = ProxyAnchorLoss()(cosine, labels)
    cosine[labels == -1] = math.nan
    cosine.requires_grad_()
    value = ProxyAnchorLoss()(cosine, labels)
    assert value == expected
    assert torch.autograd.grad(value, cosine)[0].isfinite().all()


def test_the_check_reads_nothing_of_a_device_that_it_would_wait_for() -> None:
    # Values of the meta device cannot be read at all.
    rows, labels = torch.empty(4, 3, device="meta"), torch.empty(4, dtype=torch.int64, device="meta")
    checked = labelled_rows(rows, labels, "logits", 3, raises=False)
    assert (checked.rows.shape, checked.labels.shape, checked.soundness.shape) == ((4, 3), (4,), ())


@pytest.mark.gpu
@pytest.mark.parametrize("loss", [CrossEntropy(), FocalLoss(2.0), ArcFaceLoss(), ProxyAnchorLoss()])
def test_on_a_gpu_nothing_waits_and_what_is_wrong_makes_the_loss_nan(loss: Any) -> None:
    rows, labels = batch_of("cosines", LABELS, torch.float32)
    numbers = torch.arange(len(LABELS))
    below, beyond = torch.where(numbers == 2, -2, labels), torch.where(numbers == 2, NUM_CLASSES, labels)
    cases = [(rows, labels), (spoiled(rows, numbers == 3), labels), (rows, below), (rows, beyond)]
    cases = [(given.cuda(), classes.cuda()) for given, classes in cases]
    loss.over_ranks(*cases[0])
    torch.cuda.set_sync_debug_mode("error")
    try:
        values = [loss.over_ranks(*case) for case in cases]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(values[0].cpu(), loss(rows, labels))
    assert [bool(value.isnan()) for value in values] == [False, True, True, True]
