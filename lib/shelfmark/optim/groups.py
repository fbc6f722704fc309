"""Which parameters learn how fast, and which of them decay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from shelfmark.optim.options import OptimOptions


def parameter_groups(
    network: nn.Module, options: OptimOptions, layers: Mapping[str, int] | None = None
) -> list[dict[str, Any]]:
    """Groups for an optimizer: `backbone`, `backbone.no_decay`, `head` and `head.no_decay`; empty ones are left out.

    The order is always this one, so that a saved optimizer finds its groups again. Each group holds its `name`, its
    `lr_factor` (its rate is the schedule's rate times this) and its `weight_decay`. head: everything outside
    `backbone`. no_decay: parameters of at most one dimension, that is norm layers and biases; empty with
    options.decay_norm_and_bias. Frozen parameters are left out.
    layers: for each parameter of the backbone, by name, the number of layers above its own. Where layer_decay is not 1,
    each number has groups of its own, `backbone.below3` and so on, whose lr_factor is layer_decay ** layers, as in BEiT
    (Bao et al., ICLR 2022).
    """
    below = layers if layers is not None and options.layer_decay != 1 else {}
    factors = {"backbone": 1.0}
    factors |= {f"backbone.below{number}": options.layer_decay**number for number in sorted({*below.values()} - {0})}
    factors |= {"head": options.non_backbone_lr_factor}
    members: dict[str, list[nn.Parameter]] = {f"{part}{end}": [] for part in factors for end in ("", ".no_decay")}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            part = "head"
            if name.startswith("backbone."):
                number = below.get(name.removeprefix("backbone."), 0)
                part = f"backbone.below{number}" if number else "backbone"
            decays = options.decay_norm_and_bias or parameter.ndim > 1
            members[part if decays else f"{part}.no_decay"].append(parameter)
    return [
        _group(name, parameters, options, factors[name.removesuffix(".no_decay")])
        for name, parameters in members.items()
        if parameters
    ]


def _group(name: str, parameters: list[nn.Parameter], options: OptimOptions, factor: float) -> dict[str, Any]:
    return {
        "params": parameters,
        "name": name,
        "lr": options.lr * factor,
        "lr_factor": factor,
        "weight_decay": 0.0 if name.endswith(".no_decay") else options.weight_decay,
    }
