"""One or two steps of each optimizer, by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from shelfmark.core.errors import UserError
from shelfmark.engine.optimizer_state import named_state, restore_named_state
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


class _OnAGpu(nn.Parameter):
    """A parameter that says that it is on a GPU."""

    is_cuda = True


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_parameters_on_a_gpu_are_updated_by_one_kernel_and_no_others(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    for kind in ("SGD", "Adam", "AdamW"):
        monkeypatch.setattr(torch.optim, kind, lambda groups, fused, **_: asked.append(fused))
    there, here = _OnAGpu(torch.ones(1)), nn.Parameter(torch.ones(1))
    for parameters in ([there], [here], [there, here]):
        build_optimizer(OptimOptions(name=name), [{"params": [one]} for one in parameters])
    assert asked == [True, None, None]


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_state_goes_on_with_the_other_kernel(name: str, device: str) -> None:
    def stepped(network: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, 0.1 * number)
        optimizer.step()

    def made(fused: bool) -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        network = nn.Linear(3, 2).to(device)
        optimizer = build_optimizer(OptimOptions(name=name), [{"params": list(network.parameters())}])
        for group in optimizer.param_groups:
            group["fused"] = fused
        return network, optimizer

    for before in (True, False):
        whole = made(before)
        for number in range(1, 5):
            stepped(*whole, number)
        first, second = made(before), made(not before)
        for number in (1, 2):
            stepped(*first, number)
        second[0].load_state_dict(first[0].state_dict())
        restore_named_state(second[1], second[0], named_state(first[1], first[0]))
        assert [group["fused"] for group in second[1].param_groups] == [not before]
        for number in (3, 4):
            stepped(*second, number)
        torch.testing.assert_close(second[0].weight, whole[0].weight, rtol=1e-6, atol=1e-7)
