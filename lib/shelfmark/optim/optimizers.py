"""Optimizers by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from shelfmark.core.errors import UserError, choose

OPTIMIZERS = ("sgd", "adam", "adamw")


def build_optimizer(
    name: str,
    groups: Iterable[dict[str, Any]],
    lr: float,
    momentum: float = 0.9,
    nesterov: bool = False,
    betas: tuple[float, float] = (0.9, 0.999),
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """`sgd` (momentum, nesterov), `adam` (betas; decay as part of the gradient) or `adamw` (betas; decay apart).

    lr, weight_decay: of groups that bring none. Options of the other optimizers are not looked at.
    Raises UserError for values that the optimizer refuses.
    """
    choose("optim.name", name, OPTIMIZERS)
    if name == "sgd":
        if nesterov and not momentum:
            raise UserError("optim.nesterov=true needs momentum; set optim.momentum above 0, usually 0.9.")
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
    if not all(0 <= beta < 1 for beta in betas):
        raise UserError(f"optim.betas={list(betas)}: both must be at least 0 and below 1, usually [0.9, 0.999].")
    build = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    return build(groups, lr=lr, betas=betas, weight_decay=weight_decay)
