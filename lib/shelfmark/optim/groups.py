"""Which parameters learn how fast, and which of them decay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from shelfmark.optim.options import OptimOptions


def parameter_groups(
    network: nn.Module, options: OptimOptions, layers: Mapping[str, int] | None = None
) -> list[dict[str, Any]]:
    """Groups for an optimizer: `backbone`, `backbone.no_decay`, `head`, `head.no_decay`, those that are not empty.

    Always in this order, so that a saved optimizer finds its groups again. Each holds its `name`, `lr_factor`
    (the schedule's rate times this is the group's) and `weight_decay`. head: everything outside `backbone`.
    no_decay: what has one dimension or none, that is norm layers and biases; empty with options.decay_norm_and_bias.
    Frozen parameters are left out.
    layers: of each of the backbone's parameters, by its name there, the number of layers above its own. Where
    layer_decay is not 1, these are groups of their own, `backbone.below3` and so on, whose lr_factor is
    layer_decay ** layers, as in BEiT (Bao et al., ICLR 2022).
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
