"""How large a run's checkpoints will be, before the first is written."""

from __future__ import annotations

import torch

from shelfmark.engine.state import TrainState


def checkpoint_bytes(state: TrainState) -> int:
    """The bytes that one checkpoint takes at least: the weights, and what the optimizer keeps for each of them."""
    weights = sum(tensor.nbytes for tensor in state.weights_to_evaluate().state_dict().values())
    return weights + optimizer_bytes(state.optimizer)


def optimizer_bytes(optimizer: torch.optim.Optimizer) -> int:
    """The bytes that an optimizer keeps for its parameters once it took a step."""
    kept = 0
    for group in optimizer.param_groups:
        # Adam keeps two averages of the gradient, SGD one if it has momentum.
        num_kept = 2 if "betas" in group else int(bool(group.get("momentum")))
        kept += num_kept * sum(parameter.nbytes for parameter in group["params"])
    return kept
