"""The learning rate as a closed form of the step: the same after a resume, whatever torch does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from shelfmark.core.errors import UserError
from shelfmark.optim.options import ScheduleOptions


@dataclass(frozen=True)
class LearningRate:
    """The rate of every step, counted from 0; a step past the end has the last step's.

    With W = warm-up steps (warmup_steps, or those of warmup_epochs) and L = the last step, all epochs rounded to whole
    steps:
    - step < W: base * (warmup_factor + (1 - warmup_factor) * step / W), whatever the name;
    - constant: base;
    - multistep: base times the gamma of every milestone reached (one gamma each, or one for all); milestones
      are counted from step 0, so that milestone m rules from the first step of epoch m; one past the end never does;
    - cosine: base at step W, base * final_factor at step L, half a cosine wave between. per_epoch: one rate from W on
      for each epoch e (from 0) of E: base until the epoch in which the warm-up ends is over, base * final_factor in the
      last, at the k-th after that epoch the wave at k / (E - ceil(W / steps_per_epoch)). Without a warm-up the first
      epoch stands for that of its end, and the last is one short of the wave's end, as with torch's own
      CosineAnnealingLR of E epochs.
    """

    base: float
    schedule: ScheduleOptions
    steps_per_epoch: int
    num_epochs: int

    def __post_init__(self) -> None:
        schedule = self.schedule
        if self.steps_per_epoch < 1 or self.num_epochs < 1:
            raise ValueError(f"no steps: {self.steps_per_epoch} in each of {self.num_epochs} epochs")
        if schedule.name == "multistep":
            _check_milestones(schedule.milestones_epochs)
            _check_gammas(self._gammas, len(schedule.milestones_epochs))
        if schedule.warmup_epochs >= self.num_epochs:
            raise UserError(
                f"optim.schedule.warmup_epochs={schedule.warmup_epochs:g} does not end within"
                f" train.num_epochs={self.num_epochs}; make it shorter."
            )
        if schedule.warmup_steps > self._last_step:
            raise UserError(
                f"optim.schedule.warmup_steps={schedule.warmup_steps} does not end within the {self._last_step + 1}"
                f" steps of train.num_epochs={self.num_epochs}; make it shorter."
            )

    def at(self, step: int) -> float:
        """The rate of optimizer step `step`, before a parameter group's own factor."""
        step = min(step, self._last_step)
        if step < self._warmup_steps:
            first = self.schedule.warmup_factor
            return self.base * (first + (1 - first) * step / self._warmup_steps)
        if self.schedule.name == "multistep":
            return self.base * math.prod(
                gamma for gamma, milestone in zip(self._gammas, self._milestones) if step >= milestone
            )
        if self.schedule.name == "cosine":
            return self.base * self._cosine_factor(step)
        return self.base

    def _cosine_factor(self, step: int) -> float:
        if self._last_step <= self._warmup_steps:
            return 1.0
        progress = self._progress_by_epochs(step) if self.schedule.per_epoch else self._progress(step)
        final = self.schedule.final_factor
        return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2

    def _progress(self, step: int) -> float:
        return (step - self._warmup_steps) / (self._last_step - self._warmup_steps)

    def _progress_by_epochs(self, step: int) -> float:
        epochs_with_warmup = math.ceil(self._warmup_steps / self.steps_per_epoch)
        epochs_since = step // self.steps_per_epoch - max(epochs_with_warmup, 1) + 1
        # At least one: the warm-up may end within the last epoch, which then keeps the base.
        return max(epochs_since, 0) / max(self.num_epochs - epochs_with_warmup, 1)

    @cached_property
    def _last_step(self) -> int:
        return self.steps_per_epoch * self.num_epochs - 1

    @cached_property
    def _warmup_steps(self) -> int:
        return self.schedule.warmup_steps or round(self.schedule.warmup_epochs * self.steps_per_epoch)

    @cached_property
    def _milestones(self) -> list[int]:
        return [round(epoch * self.steps_per_epoch) for epoch in self.schedule.milestones_epochs]

    @cached_property
    def _gammas(self) -> tuple[float, ...]:
        gamma = self.schedule.gamma
        return gamma if isinstance(gamma, tuple) else (gamma,) * len(self.schedule.milestones_epochs)


@dataclass(frozen=True)
class StagedRate:
    """Rates that take turns: the last stage that has begun rules, with steps counted from its own beginning.

    stages: (first step, rate), rising, the first of them from step 0.
    """

    stages: tuple[tuple[int, LearningRate], ...]

    def at(self, step: int) -> float:
        """The rate of optimizer step `step`, before a parameter group's own factor."""
        first_step, rate = next(stage for stage in reversed(self.stages) if stage[0] <= step)
        return rate.at(step - first_step)


def _check_milestones(epochs: tuple[float, ...]) -> None:
    if not epochs:
        raise UserError(
            "optim.schedule.name=multistep needs optim.schedule.milestones_epochs, such as [10, 20, 30];"
            " for a rate that never falls take optim.schedule.name=constant."
        )
    if min(epochs) <= 0 or list(epochs) != sorted(set(epochs)):
        raise UserError(
            f"optim.schedule.milestones_epochs={list(epochs)} must be above 0 and rising, each once,"
            " such as [10, 20, 30]."
        )


def _check_gammas(gammas: tuple[float, ...], num_milestones: int) -> None:
    if len(gammas) != num_milestones:
        raise UserError(
            f"optim.schedule.gamma has {len(gammas)} factors for {num_milestones} milestones_epochs;"
            " give one for each, or a single number for all."
        )
    if min(gammas) <= 0:
        raise UserError(f"optim.schedule.gamma={list(gammas)} must be above 0, such as 0.1.")
