"""The progress of a run, which a checkpoint holds beside the weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class Progress:
    """Epochs count from 0. `epoch` is the one in progress, `step_in_epoch` how many of its batches are done.

    step: batches done since the run began. position: of the schedule, in steps; it equals `step` until a resume changes
    the number of steps an epoch. steps_per_epoch: of the schedule, 0 where unknown. bad_in_epoch: steps of the epoch
    that were skipped because the loss or its gradient was not finite. summed: steps whose losses are in `sums`.
    """

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    best_score: float | None = None
    best_epoch: int | None = None
    position: int = 0
    steps_per_epoch: int = 0
    bad_in_epoch: int = 0
    summed: int = 0
    joined: dict[str, int] = field(default_factory=dict)
    """For each loss that a resume added in mid-epoch: how many steps of the epoch were summed before."""
    sums: dict[str, Tensor] = field(default_factory=dict)
    """Float64 sums of each loss over the epoch's good steps so far, so that a resumed epoch reports the same means."""

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Counts one step. The sums stay on the device: reading them each step would stall a GPU."""
        for name, value in losses.items():
            value = value.detach().double()
            self.sums[name] = self.sums[name].to(value.device) + value if name in self.sums else value
        self.summed += 1
        self._count()

    def add_bad(self) -> None:
        """Counts a skipped step: the order of images and the schedule go on."""
        self.bad_in_epoch += 1
        self._count()

    def _count(self) -> None:
        self.step += 1
        self.step_in_epoch += 1
        self.position += 1

    def means(self) -> dict[str, float]:
        """The mean losses of the epoch's good steps so far; empty where there was none."""
        return {name: float(total) / (self.summed - self.joined.get(name, 0)) for name, total in self.sums.items()}

    def next_epoch(self) -> None:
        """Closes the epoch."""
        self.epoch += 1
        self.restart_epoch(keep_position=True)

    def restart_epoch(self, keep_position: bool = False) -> None:
        """Begins the epoch in progress anew. keep_position: the schedule does not go back."""
        if not keep_position:
            self.position -= self.step_in_epoch
        self.step_in_epoch = self.bad_in_epoch = 0
        self._sum_anew()

    def change_losses(self, before: Iterable[str], now: Iterable[str]) -> None:
        """Goes on with other losses in mid-epoch. before, now: the names of the losses."""
        gone, new = {*before} - {*now}, {*now} - {*before}
        self.sums = {name: total for name, total in self.sums.items() if name not in gone}
        self.joined |= dict.fromkeys(new, self.summed)

    def fit_to(self, steps_per_epoch: int) -> bool:
        """Adapts to another number of steps an epoch; returns whether the number changed.

        The finished part of the epoch stays the same, rounded down to whole steps.
        """
        before, self.steps_per_epoch = self.steps_per_epoch, steps_per_epoch
        if not before or before == steps_per_epoch:
            return False
        self.step_in_epoch = self.step_in_epoch * steps_per_epoch // before
        self.position = self.epoch * steps_per_epoch + self.step_in_epoch
        # A mean over steps of two batch sizes would describe neither.
        self._sum_anew()
        return True

    def _sum_anew(self) -> None:
        self.sums, self.joined, self.summed = {}, {}, 0

    def state_dict(self) -> dict[str, Any]:
        return vars(self) | {
            "sums": {name: total.cpu() for name, total in self.sums.items()},
            "joined": dict(self.joined),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Progress:
        return cls(**state)


def random_state() -> dict[str, Tensor]:
    """The state of the generators that layers such as dropout draw from. Every other draw has its own seed."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: Mapping[str, Tensor]) -> None:
    """Puts the generators back."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
