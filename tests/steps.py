"""A training step of parts that a test makes itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from shelfmark.data.mixing import Mixing
from shelfmark.engine.precision import Precision
from shelfmark.engine.state import TrainState
from shelfmark.engine.step import TrainStep
from shelfmark.engine.terms import LossTerm

FP32 = Precision("fp32", torch.device("cpu"))


def step_of(
    network: nn.Module,
    terms: Sequence[LossTerm],
    optimizer: torch.optim.Optimizer,
    precision: Precision = FP32,
    clip_norm: float = 0.0,
    grad_cache: int = 0,
    mixing: Mixing | None = None,
    num_parts: int = 1,
    **options: Any,
) -> TrainStep:
    """The step of a run that has just begun. options: of its state."""
    state = TrainState(
        network=network,  # type: ignore[arg-type]
        terms=terms,
        optimizer=optimizer,
        precision=precision,
        grad_cache=grad_cache,
        **options,
    )
    return TrainStep(state, clip_norm, mixing, num_parts)
