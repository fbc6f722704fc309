"""The angular loss against loops, pytorch-metric-learning, and values worked out by hand; what it keeps in memory."""

from __future__ import annotations

import math
from functools import partial

import oracles_softmax as oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_checks import LABELS, WORKED, assert_equals_oracle, assert_equals_peer, batches, unit_rows
from pytorch_metric_learning import losses as peers

from shelfmark.losses.angular import AngularLoss


@settings(max_examples=30, deadline=None)
@given(batch=batches(), angle_deg=st.sampled_from([10.0, 40.0, 60.0]))
def test_value_and_gradient_equal_the_loops_for_any_labels(batch, angle_deg):
    assert_equals_oracle(AngularLoss(angle_deg), partial(oracles.angular, angle_deg=angle_deg), batch)


def test_a_case_worked_out_by_hand():
    # At 45 degrees the squared tangent is 1; both pairs have the negative that is at 0 and 0.8.
    expected = math.log(1 + math.exp(4 * (0.0 + 0.8) - 4 * 0.6))
    assert float(AngularLoss(45.0)(*WORKED)) == pytest.approx(expected, rel=1e-13)


def test_it_is_the_loss_of_pytorch_metric_learning():
    x, labels = unit_rows(10, seed=1), torch.tensor([label for label in LABELS if label != -1])
    peer = peers.AngularLoss(40)
    peer.alpha = peer.alpha.double()  # they keep the angle in float32
    assert_equals_peer(AngularLoss(math.degrees(float(peer.alpha))), peer, x, labels)


def test_what_is_kept_for_the_backward_pass_does_not_grow_with_the_pairs():
    num_rows = 64
    x = unit_rows(num_rows, seed=2).requires_grad_()
    kept = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    for group_size in (2, 32):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            AngularLoss()(x, torch.arange(num_rows) % (num_rows // group_size))
        assert sum(kept) < num_rows * num_rows
