"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shelfmark.core import dist
from shelfmark.core.errors import UserError
from shelfmark.core.log import say
from shelfmark.data.bad_images import BadImageLog
from shelfmark.data.loader import TrainLoader
from shelfmark.engine.display import Display
from shelfmark.engine.journal import Journal
from shelfmark.engine.progress import Progress, random_state
from shelfmark.engine.step import StepResult, TrainStep
from shelfmark.optim import StagedRate

NO_METRIC = "none"


@dataclass(frozen=True)
class Rhythm:
    """When things happen. Zero for `checkpoint_every_steps` means at the end of epochs only."""

    num_epochs: int
    log_every_steps: int
    checkpoint_every_steps: int
    checkpoint_every_epochs: int
    evaluate_every_epochs: int


@dataclass(kw_only=True)
class Trainer:
    """Trains from `progress` to the last epoch.

    validate: () -> scores of the network on val. save: (names, trainer state) writes one checkpoint under these names.
    step_for: epoch -> the step that trains it: the same as before, or that of a stage which begins with this epoch.
    metric: the score that chooses `best_model`; higher is better unless its name ends in `error`. With `NO_METRIC`
    nothing is validated, and the latest is the best.
    """

    step: TrainStep
    step_for: Callable[[int], TrainStep]
    loader: TrainLoader
    learning_rate: StagedRate
    rhythm: Rhythm
    metric: str
    validate: Callable[[], Mapping[str, float | None]]
    save: Callable[[Sequence[str], dict[str, Any]], None]
    progress: Progress
    journal: Journal
    display: Display
    bad_images: BadImageLog

    def fit(self) -> None:
        """Runs every epoch that is left."""
        while self.progress.epoch < self.rhythm.num_epochs:
            self.step = self.step_for(self.progress.epoch)
            self._train_epoch()
            improved = self._evaluate() if self._is_due(self.rhythm.evaluate_every_epochs) else False
            saves = self._is_due(self.rhythm.checkpoint_every_epochs)
            self.progress.next_epoch()
            self._checkpoint([name for name, due in (("best_model", improved), ("last", saves)) if due])

    def _train_epoch(self) -> None:
        progress, rhythm = self.progress, self.rhythm
        num_steps = self.loader.num_batches(progress.epoch)
        self.display.start_epoch(progress.epoch, rhythm.num_epochs, num_steps, progress.step_in_epoch)
        asked_at = time.perf_counter()
        for batch in self.loader.epoch(progress.epoch, progress.step_in_epoch):
            got_at = time.perf_counter()
            self.bad_images.add(batch.bad)
            rate = self.learning_rate.at(progress.step)
            is_logged = (progress.step + 1) % rhythm.log_every_steps == 0
            result = self.step(batch, rate, progress.step, measure_gradients=is_logged)
            progress.add(result.losses)
            if is_logged:
                self._log(result, rate)
            self.display.step(len(batch) * dist.world_size(), wait_s=got_at - asked_at, loss=result.losses["loss"])
            if self._is_mid_epoch_checkpoint(num_steps):
                self._checkpoint(["last"])
            asked_at = time.perf_counter()
        self._end_epoch(num_steps)

    def _is_due(self, every_epochs: int) -> bool:
        done = self.progress.epoch + 1
        return done % every_epochs == 0 or done == self.rhythm.num_epochs

    def _is_mid_epoch_checkpoint(self, num_steps: int) -> bool:
        # At the epoch's end the evaluation comes first, so that no resume skips it.
        every = self.rhythm.checkpoint_every_steps
        return bool(every) and self.progress.step % every == 0 and self.progress.step_in_epoch < num_steps

    def _log(self, result: StepResult, rate: float) -> None:
        losses = {name: float(value) for name, value in result.losses.items()}
        self._require_finite(losses)
        norms = {f"grad_norm/{name}": float(value) for name, value in result.gradient_norms.items()}
        self.journal.write("train", self.progress.step, self.progress.epoch, {"lr": rate, **losses, **norms})

    def _end_epoch(self, num_steps: int) -> None:
        progress = self.progress
        if progress.step_in_epoch != num_steps:
            raise AssertionError(f"epoch {progress.epoch} had {progress.step_in_epoch} of {num_steps} steps")
        self.bad_images.merge(dist.gather_objects(self.bad_images.state_dict()))
        means = progress.means()
        self._require_finite(means)
        self.display.end_epoch(means)
        rate = self.learning_rate.at(progress.step - 1)
        self.journal.write("epoch", progress.step, progress.epoch, {"lr": rate, **means, **self.display.speed()})

    def _evaluate(self) -> bool:
        progress = self.progress
        if self.metric == NO_METRIC:
            progress.best_epoch = progress.epoch
            return True
        scores = self.validate()
        self.journal.write("val", progress.step, progress.epoch, scores)
        score = scores.get(self.metric)
        if score is None:
            known = ", ".join(name for name, value in scores.items() if value is not None)
            raise UserError(f"eval.metric={self.metric!r} has no value on this validation set; there are: {known}.")
        improved = progress.best_score is None or self._is_better(score, progress.best_score)
        if improved:
            progress.best_score, progress.best_epoch = float(score), progress.epoch
        best = "  (best so far)" if improved else ""
        say(f"epoch {progress.epoch + 1}/{self.rhythm.num_epochs}  val {self.metric} {score:.4f}{best}")
        return improved

    def _is_better(self, score: float, best: float) -> bool:
        return score < best if self.metric.endswith("error") else score > best

    def _checkpoint(self, names: Sequence[str]) -> None:
        if not names:
            return
        self._require_finite({key: float(total) for key, total in self.progress.sums.items()})
        state = self._state()
        if dist.is_main():
            self.save(names, state)
        dist.barrier()

    def _state(self) -> dict[str, Any]:
        """`state.pt`: the keys of `TrainStep.state_dict`; progress, bad_images; random: one of each process."""
        return {
            **self.step.state_dict(),
            "progress": self.progress.state_dict(),
            "bad_images": self.bad_images.state_dict(),
            "random": dist.gather_objects(random_state()),
        }

    def _require_finite(self, losses: Mapping[str, float]) -> None:
        broken = [name for name, value in losses.items() if not math.isfinite(value)]
        if broken:
            raise UserError(
                f"the loss is not a number at step {self.progress.step} (epoch {self.progress.epoch}):"
                f" {', '.join(broken)}. Lower optim.lr, add optim.schedule.warmup_epochs or optim.clip_norm,"
                " or set train.precision=fp32; the last checkpoint is from before."
            )
