"""The baselines of `make bench-losses` are honest: the same losses, at the cost that they are said to have."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from shelfmark.losses import PNP, SmoothAP

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import naive_losses

VARIANTS = ["O", "I_u", "I_b", "D_s", "D_q"]
SHAPES = [(2, 2), (5, 2), (4, 3), (1, 4)]


def unit_rows(num_classes: int, group_size: int) -> Tensor:
    generator = torch.Generator().manual_seed(num_classes)
    rows = torch.randn(num_classes * group_size, 6, generator=generator, dtype=torch.float64)
    return normalize(rows).requires_grad_()


def labels_of(num_classes: int, group_size: int) -> Tensor:
    return torch.arange(num_classes).repeat_interleave(group_size)


def assert_same(naive: Tensor, ours: Tensor, embedding: Tensor) -> None:
    torch.testing.assert_close(naive, ours, rtol=1e-11, atol=1e-14)
    (naive_gradient,) = torch.autograd.grad(naive, embedding)
    (our_gradient,) = torch.autograd.grad(ours, embedding)
    torch.testing.assert_close(naive_gradient, our_gradient, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("num_classes", "group_size"), SHAPES)
def test_the_naive_losses_are_the_librarys(num_classes, group_size):
    x, labels = unit_rows(num_classes, group_size), labels_of(num_classes, group_size)
    for temperature in (0.01, 0.2):
        assert_same(naive_losses.smooth_ap(x, group_size, temperature), SmoothAP(temperature)(x, labels), x)
        for variant in VARIANTS:
            ours = PNP(variant, temperature)(x, labels)
            assert_same(naive_losses.pnp(x, group_size, variant, temperature), ours, x)


def test_rows_that_are_all_the_same_have_the_losses_worked_out_by_hand():
    # Every step is 1/2. Of 6 rows in classes of 2, 4 are negatives, so N = 2; the one positive has no other: R = 1.
    x = torch.ones(6, 3, dtype=torch.float64)
    assert float(naive_losses.smooth_ap(x, 2)) == pytest.approx(2 / 3)
    assert float(naive_losses.pnp(x, 2, "D_q")) == pytest.approx(2 / 3)
    assert float(naive_losses.pnp(x, 2, "I_b")) == pytest.approx((4 - math.log(5)) / 4)


@pytest.mark.parametrize("loss", [naive_losses.smooth_ap, naive_losses.pnp])
def test_four_tensors_over_all_triples_are_kept_for_the_backward_pass(loss):
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    x = unit_rows(num_classes=10, group_size=2)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss(x, 2).backward()
    assert sorted(kept.values())[-5:][0] < 8 * 20**3
    assert sorted(kept.values())[-4:] == [8 * 20**3] * 4


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_pnp_of_pytorch_metric_learning_normalises_and_counts_the_query_as_its_own_positive(variant):
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    x = unit_rows(num_classes=5, group_size=3)
    labels = labels_of(5, 3)
    theirs = losses.PNPLoss(variant=variant.replace("_", ""))(3 * x, labels)
    assert_same(theirs, PNP(variant, include_self=True)(normalize(3 * x), labels), x)
