"""Where a run stands: what a checkpoint needs beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class Progress:
    """Epochs count from 0. `epoch` is the one in progress, `step_in_epoch` how many of its batches are done."""

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    best_score: float | None = None
    best_epoch: int | None = None
    sums: dict[str, Tensor] = field(default_factory=dict)
    """Float64 sums of each loss over the epoch so far, so that a resumed epoch reports the same means."""

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Counts one step. The sums stay on the device: reading them each step would stall a GPU."""
        for name, value in losses.items():
            value = value.detach().double()
            self.sums[name] = self.sums[name].to(value.device) + value if name in self.sums else value
        self.step += 1
        self.step_in_epoch += 1

    def means(self) -> dict[str, float]:
        """The epoch's mean losses so far."""
        return {name: float(total) / self.step_in_epoch for name, total in self.sums.items()}

    def next_epoch(self) -> None:
        """Closes the epoch."""
        self.epoch, self.step_in_epoch, self.sums = self.epoch + 1, 0, {}

    def state_dict(self) -> dict[str, Any]:
        return vars(self) | {"sums": {name: total.cpu() for name, total in self.sums.items()}}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Progress:
        return cls(**state)


def random_state() -> dict[str, Tensor]:
    """The generators that layers such as dropout draw from; all else is seeded draw by draw."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: Mapping[str, Tensor]) -> None:
    """Puts the generators back."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
