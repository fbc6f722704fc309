"""The state of an optimizer, by the name of each parameter instead of its place in the groups.

Places change with the options that make the groups (`optim.layer_decay`, `optim.decay_norm_and_bias`); names do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def named_state(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Any]:
    """The state as {kind: the optimizer's class, parameters: the state of each parameter by name, {} before step 1}.

    It holds no hyperparameters: they follow from the options.
    """
    trained = _trained(optimizer, network)
    entries = {name: dict(optimizer.state.get(parameter, {})) for name, parameter in trained.items()}
    return {"kind": type(optimizer).__name__, "parameters": entries}


def restore_named_state(optimizer: torch.optim.Optimizer, network: nn.Module, saved: Mapping[str, Any]) -> None:
    """Fills the optimizer from `named_state`, with the hyperparameters that it was built with.

    Raises ValueError where the state is of another kind of optimizer, or of other parameters.
    """
    kind, entries = type(optimizer).__name__, saved["parameters"]
    if saved["kind"] != kind:
        raise ValueError(f"it is a state of {saved['kind']}, and the optimizer is now {kind}")
    trained = _trained(optimizer, network)
    _require_same_names(set(entries), set(trained))
    # In torch's own form, so that torch brings each value to its parameter's device and type.
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    number_of = {id(parameter): number for number, parameter in enumerate(parameters)}
    state = {number_of[id(trained[name])]: entry for name, entry in entries.items() if entry}
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def by_name(saved: Mapping[str, Any], names: list[list[str]], kind: str) -> dict[str, Any]:
    """A torch `state_dict` in the form of `named_state`. names: of the parameters, group by group.

    Raises ValueError where the groups have other sizes.
    """
    groups = [group["params"] for group in saved["param_groups"]]
    if [len(group) for group in groups] != [len(group) for group in names]:
        raise ValueError(
            f"it trained groups of {[len(group) for group in groups]} parameters, and the options make groups of"
            f" {[len(group) for group in names]}"
        )
    return {
        "kind": kind,
        "parameters": {
            name: saved["state"].get(number, {})
            for numbers, group in zip(groups, names)
            for number, name in zip(numbers, group)
        },
    }


def group_names(optimizer: torch.optim.Optimizer, network: nn.Module) -> list[list[str]]:
    """The names of the parameters of each of the optimizer's groups."""
    name_of = {id(parameter): name for name, parameter in network.named_parameters()}
    return [[name_of[id(parameter)] for parameter in group["params"]] for group in optimizer.param_groups]


def _trained(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Tensor]:
    in_optimizer = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    return {name: parameter for name, parameter in network.named_parameters() if id(parameter) in in_optimizer}


def _require_same_names(saved: set[str], now: set[str]) -> None:
    if saved == now:
        return
    no_more, new = sorted(saved - now), sorted(now - saved)
    kinds = ((no_more, "are not trained now"), (new, "were not trained then"))
    told = [f"{len(names)} {what}, such as {names[0]}" for names, what in kinds if names]
    raise ValueError(f"it trained other parameters than these options train: {'; '.join(told)}")
