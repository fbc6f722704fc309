"""Optimizers by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from shelfmark.core.errors import UserError
from shelfmark.optim.options import OptimOptions


def build_optimizer(options: OptimOptions, groups: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
    """The optimizer of `options` over parameter groups, each with its own rate and decay.

    adam counts the decay as part of the gradient, adamw apart from it. On a GPU one kernel updates all parameters.
    Raises UserError for values that the optimizer refuses.
    """
    lr, weight_decay = options.lr, options.weight_decay
    fused = True if _are_on_a_gpu(groups) else None  # on a CPU another kernel would give other digits
    if options.name == "sgd":
        if options.nesterov and not options.momentum:
            raise UserError("optim.nesterov=true needs momentum; set optim.momentum above 0, usually 0.9.")
        return torch.optim.SGD(
            groups, lr=lr, momentum=options.momentum, nesterov=options.nesterov, weight_decay=weight_decay, fused=fused
        )
    if not all(0 <= beta < 1 for beta in options.betas):
        raise UserError(
            f"optim.betas={list(options.betas)}: both must be at least 0 and below 1, usually [0.9, 0.999]."
        )
    build = torch.optim.Adam if options.name == "adam" else torch.optim.AdamW
    return build(groups, lr=lr, betas=options.betas, weight_decay=weight_decay, fused=fused)


def _are_on_a_gpu(groups: Sequence[dict[str, Any]]) -> bool:
    return all(parameter.is_cuda for group in groups for parameter in group["params"])
