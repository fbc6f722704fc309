"""One or two steps of each optimizer, by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from shelfmark.core.errors import UserError
from shelfmark.optim import OptimOptions, build_optimizer


def after_steps(name: str, num_steps: int = 2, **options: Any) -> float:
    """A weight that starts at 1 and gets the gradient 2 at every step of rate 0.1."""
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = build_optimizer(OptimOptions(**{"name": name, "weight_decay": 0.0, **options}), [{"params": [weight]}])
    for _ in range(num_steps):
        weight.grad = torch.full_like(weight, 2.0)
        optimizer.step()
    return weight.item()


def test_sgd_with_momentum_by_hand() -> None:
    # Velocities 2 and 0.9 * 2 + 2 = 3.8.
    assert after_steps("sgd", momentum=0.9) == pytest.approx(1 - 0.1 * 2 - 0.1 * 3.8)
    # Nesterov looks ahead: 2 + 0.9 * 2 = 3.8, then 2 + 0.9 * 3.8 = 5.42.
    assert after_steps("sgd", momentum=0.9, nesterov=True) == pytest.approx(1 - 0.1 * 3.8 - 0.1 * 5.42)


def test_adam_adds_decay_to_the_gradient_and_adamw_shrinks_the_weight() -> None:
    # The first step of either has the size of the rate, whatever the gradient.
    assert after_steps("adam", 1, weight_decay=0.5) == pytest.approx(0.9)
    assert after_steps("adamw", 1, weight_decay=0.5) == pytest.approx(0.95 - 0.1)


def test_options_of_another_optimizer_are_not_looked_at() -> None:
    assert after_steps("adam", 1, momentum=0.0, nesterov=True) == pytest.approx(0.9)
    assert after_steps("sgd", 1, momentum=0.0, betas=(2.0, 2.0)) == pytest.approx(0.8)


def test_bad_options_are_refused_by_their_names() -> None:
    with pytest.raises(UserError, match=r"optim\.nesterov=true needs momentum"):
        after_steps("sgd", momentum=0.0, nesterov=True)
    with pytest.raises(UserError, match=r"optim\.betas=\[0\.9, 1\.0\]"):
        after_steps("adamw", betas=(0.9, 1.0))
