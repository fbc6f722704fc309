"""Losses that say that they add over rows do: the parts of a batch, each by its divisor, are the batch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from test_over_ranks import COUNTS, LOSSES, STEP, UNEVEN, WEIGHT, arguments, batch, proxies
from torch import Tensor

from shelfmark.engine.accumulation import shares_of_parts
from shelfmark.engine.terms import LossTerm
from shelfmark.losses import ENTRIES, CrossEntropy, FocalLoss, LossContext, entry
from shelfmark.losses import LOSSES as BY_NAME
from shelfmark.losses.softmax_eql import SoftmaxEQL

ADDING = [name for name, (_, loss) in LOSSES.items() if getattr(loss, "adds_over_rows", False)]
# 11 rows in parts of 3, 2, 2, 2 and 2; the last but one has no label.
LABELS = torch.tensor([0, 1, 0, 9, 1, 8, -1, -1, -1, 5, 0])
NUM_PARTS = 5


def value_and_gradients(loss: Any, kind: Any, rows: Tensor, labels: Tensor, share: float = 1.0) -> list[Tensor]:
    """Of the loss times a share: the value, its gradient by the rows and, where there are, by the proxies."""
    rows = rows.detach().clone().requires_grad_()
    first, more = arguments(kind, rows)
    if kind == "proxies":
        more = (proxies(rows.dtype).requires_grad_(),)
    value = share * loss.over_ranks(first, labels, *more, step=STEP)
    return [value.detach(), *torch.autograd.grad(value, [rows, *more])]


def of_parts(loss: Any, kind: Any, rows: Tensor, labels: Tensor) -> list[Tensor]:
    term = LossTerm("loss", "head", 1.0, loss)
    shares = shares_of_parts([term], labels, NUM_PARTS, STEP)
    assert sum(float(share["loss"]) for share in shares) == pytest.approx(1)
    found = [
        value_and_gradients(loss, kind, some_rows, some_labels, share["loss"])
        for some_rows, some_labels, share in zip(rows.tensor_split(NUM_PARTS), labels.tensor_split(NUM_PARTS), shares)
    ]
    values, by_rows, *by_proxies = zip(*found)
    return [torch.stack(values).sum(), torch.cat(by_rows), *(torch.stack(one).sum(0) for one in by_proxies)]


def assert_adds(loss: Any, kind: Any, rows: Tensor, labels: Tensor) -> None:
    whole = value_and_gradients(loss, kind, rows, labels)
    for ours, expected in zip(of_parts(loss, kind, rows, labels), whole, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ADDING)
def test_the_parts_are_the_batch(name: str) -> None:
    kind, loss = LOSSES[name]
    rows, _ = batch(kind, UNEVEN)
    assert_adds(loss, kind, rows, LABELS)
    # Nothing counts: the loss is 0, or what it asks of its proxies alone.
    assert_adds(loss, kind, rows, torch.full_like(LABELS, -1))


@pytest.mark.parametrize("name", [name for name in ADDING if LOSSES[name][1].takes_probabilities])
def test_the_parts_of_mixed_labels_are_the_batch(name: str) -> None:
    kind, loss = LOSSES[name]
    rows, _ = batch(kind, UNEVEN)
    mixed = torch.rand(len(LABELS), 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mixed = mixed / mixed.sum(1, keepdim=True) * (LABELS >= 0)[:, None]
    assert_adds(loss, kind, rows, mixed)


def test_class_weights_count_in_the_shares_also_where_they_come_late() -> None:
    rows, _ = batch("logits", UNEVEN)
    late = {"class_weights": "power", "class_weights_from_epoch": 1}
    for first_step in (STEP + 1, STEP):  # before the weights, and with them
        context = LossContext(COUNTS, torch.device("cpu"), steps_per_epoch=first_step)
        assert_adds(entry("cross_entropy", **late).build(context), "logits", rows, LABELS)
    # By hand: weights 1/40, 1/30, 1/40; nothing where there is no label.
    parts = [CrossEntropy(weight=WEIGHT).divisor(LABELS[:3]), FocalLoss(gamma=2.0, weight=WEIGHT).divisor(LABELS[6:9])]
    assert [float(one) for one in parts] == pytest.approx([1 / 40 + 1 / 30 + 1 / 40, 0])


def test_a_loss_that_looks_at_the_whole_batch_does_not_say_that_it_adds() -> None:
    assert not [name for name in ADDING if LOSSES[name][0] in ("vectors", "logits_and_vectors")]
    # Every loss that says so is tried above.
    tried = {ENTRIES[name.split()[0]].loss_class for name in ADDING}
    assert tried == {loss for loss in BY_NAME.values() if loss.adds_over_rows}
    # Its draws depend on a row's place in the batch.
    drawing = SoftmaxEQL(COUNTS, gamma=0.5, threshold=0.1, seed=3)
    assert not drawing.adds_over_rows
    with pytest.raises(AssertionError, match="not close"):
        assert_adds(drawing, "logits", batch("logits", UNEVEN)[0], LABELS)


def test_the_page_on_training_names_them(checkout: Path) -> None:
    page = (checkout / "docs" / "training.md").read_text()
    listed = page.partition("Losses that add over images:")[2].partition("A part counts")[0]
    assert sorted(re.findall(r"`(\w+)`", listed)) == sorted(name for name in BY_NAME if BY_NAME[name].adds_over_rows)
