"""Which parameters learn how fast, and which of them decay."""

from __future__ import annotations

from typing import Any

from torch import nn


def parameter_groups(
    network: nn.Module,
    lr: float,
    weight_decay: float,
    decay_norm_and_bias: bool = False,
    head_lr_factor: float = 1.0,
) -> list[dict[str, Any]]:
    """Groups for an optimizer: `backbone`, `backbone.no_decay`, `head`, `head.no_decay`, those that are not empty.

    Always in this order, so that a saved optimizer finds its groups again. Each holds its `name`, `lr_factor`
    (the schedule's rate times this is the group's) and `weight_decay`. head: everything outside `backbone`.
    no_decay: what has one dimension or none, that is norm layers and biases; empty with decay_norm_and_bias.
    Frozen parameters are left out.
    """
    members: dict[str, list[nn.Parameter]] = {
        "backbone": [],
        "backbone.no_decay": [],
        "head": [],
        "head.no_decay": [],
    }
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            part = "backbone" if name.startswith("backbone.") else "head"
            decays = decay_norm_and_bias or parameter.ndim > 1
            members[part if decays else f"{part}.no_decay"].append(parameter)
    return [
        _group(name, parameters, lr, weight_decay, head_lr_factor) for name, parameters in members.items() if parameters
    ]


def _group(
    name: str, parameters: list[nn.Parameter], lr: float, weight_decay: float, head_lr_factor: float
) -> dict[str, Any]:
    factor = head_lr_factor if name.startswith("head") else 1.0
    return {
        "params": parameters,
        "name": name,
        "lr": lr * factor,
        "lr_factor": factor,
        "weight_decay": 0.0 if name.endswith(".no_decay") else weight_decay,
    }
