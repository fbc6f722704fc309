"""The training loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from shelfmark.core.heartbeat import beat
from shelfmark.data.loader import EpochLoader
from shelfmark.engine.hook import Hooks, StepDone
from shelfmark.engine.state import TrainState
from shelfmark.engine.step import TrainStep
from shelfmark.optim import StagedRate


@dataclass(kw_only=True)
class Trainer:
    """Trains from where `state` stands to the last epoch.

    step_for: epoch -> the TrainStep of that epoch; if a stage begins with the epoch, `state` is put into it.
    """

    state: TrainState
    step_for: Callable[[int], TrainStep]
    loader: EpochLoader
    learning_rate: StagedRate
    hooks: Hooks
    num_epochs: int
    log_every_steps: int

    def fit(self) -> None:
        """Runs every epoch that is left."""
        progress = self.state.progress
        try:
            while progress.epoch < self.num_epochs:
                self._train_epoch(self.step_for(progress.epoch))
                self.hooks.epoch_ends(self.learning_rate.at(progress.position - 1))
                progress.next_epoch()
                self.hooks.epoch_closed()
        finally:
            self.hooks.run_ends()

    def _train_epoch(self, train_step: TrainStep) -> None:
        progress = self.state.progress
        num_steps = self.loader.num_batches(progress.epoch)
        self.hooks.epoch_begins(num_steps, self.learning_rate.at(progress.position))
        asked_at = time.perf_counter()
        for batch in self.loader.epoch(progress.epoch, progress.step_in_epoch):
            beat("step")
            wait_s = time.perf_counter() - asked_at
            rate = self.learning_rate.at(progress.position)
            is_logged = (progress.step + 1) % self.log_every_steps == 0
            result = train_step(batch, rate, progress.position, measure_gradients=is_logged)
            if result.skipped:
                progress.add_bad()
            else:
                progress.add(result.losses)
            ends_epoch = progress.step_in_epoch == num_steps
            is_sound = partial(train_step.is_sound, batch, progress.position - 1)
            self.hooks.step_ends(StepDone(batch, result, rate, wait_s, is_logged, ends_epoch, is_sound))
            asked_at = time.perf_counter()
        if progress.step_in_epoch != num_steps:
            raise AssertionError(f"epoch {progress.epoch} had {progress.step_in_epoch} of {num_steps} steps")
