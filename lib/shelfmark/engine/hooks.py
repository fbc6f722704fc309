"""The hooks of a training run; their order is the list in `pipelines/train.py`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from shelfmark.core import dist
from shelfmark.core.errors import UserError
from shelfmark.core.log import say, warn
from shelfmark.core.score_names import score_name
from shelfmark.core.stopping import Stopped, StopSignals
from shelfmark.core.terminal import percent
from shelfmark.core.together import agree
from shelfmark.data.bad_images import BadImageLog
from shelfmark.engine.checkpointer import BEST, LAST, Checkpointer, kept_in
from shelfmark.engine.display import Display
from shelfmark.engine.hook import Hook, StepDone
from shelfmark.engine.metrics_log import MetricsLog
from shelfmark.engine.peak_memory import peak_memory_bytes
from shelfmark.engine.state import TrainState

NO_METRIC = "none"
T = TypeVar("T")


class BadImages(Hook):
    """Counts and lists training images that could not be read, and ends the run when they are too many."""

    name = "bad_images"

    def __init__(self, log: BadImageLog) -> None:
        self.log = log
        self._told = 0

    def step_ends(self, done: StepDone) -> None:
        failed = None
        try:
            self.log.add(done.batch.bad)
        except UserError as error:
            failed = error
        # Each process counts its own pictures: if one of them ends the run, the others must not wait in the next step.
        if dist.any_of([failed is not None])[0]:
            agree(failed)

    def epoch_ends(self, rate: float) -> None:
        with self.log.over_ranks():
            pass
        if len(self.log) > self._told:
            self._told = len(self.log)
            warn(f"{self._told} training images could not be read and were replaced; {self.log.file} lists them")

    def state_dict(self) -> dict[str, Any]:
        # Of all processes: a run that goes on in the middle of an epoch would forget those that rank 0 did not meet.
        met: dict[Any, tuple[Any, ...]] = {}
        for state in dist.gather_objects(self.log.state_dict()):
            for one in zip(state["rows"], state["paths"], state["reasons"]):
                met.setdefault(one[0], one)
        found = list(met.values())
        return {name: [one[place] for one in found] for place, name in enumerate(("rows", "paths", "reasons"))}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.log.load_state_dict(state)
        self._told = len(self.log)


class FiniteCheck(Hook):
    """Logs each step that was skipped because its loss or gradient was not finite, and ends the run after too many.

    max_bad_steps: how many in a row end the run. image_id: row of the training table -> its image's id. run_folder:
    holds the checkpoints.
    """

    name = "finite_check"

    def __init__(
        self, state: TrainState, log: MetricsLog, image_id: Callable[[int], str], max_bad_steps: int, run_folder: Path
    ) -> None:
        self.state, self.log, self.image_id = state, log, image_id
        self.max_bad_steps, self.run_folder = max_bad_steps, run_folder
        self._in_a_row = 0

    def step_ends(self, done: StepDone) -> None:
        why = done.result.skipped
        if not why:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        progress = self.state.progress
        # Every process holds a part of the batch.
        rows = [row for part in dist.gather_objects(done.batch.rows.tolist()) for row in part]
        image_ids = [self.image_id(row) for row in rows]
        self.log.write("skipped", progress.step, progress.epoch, {"reason": why, "image_ids": image_ids})
        warn(f"step {progress.step} was skipped: {why}; metrics.jsonl has its image ids, the weights are as before")
        if self._in_a_row >= self.max_bad_steps:
            raise UserError(
                f"{self._in_a_row} steps in a row were skipped, the last one step {progress.step} of epoch"
                f" {progress.epoch + 1}: {why}. Lower optim.lr, add optim.schedule.warmup_epochs or optim.clip_norm, or"
                f" set train.precision=fp32; {kept_in(self.run_folder)}. train.max_bad_steps is how many end a run."
            )

    def state_dict(self) -> dict[str, Any]:
        return {"in_a_row": self._in_a_row}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._in_a_row = state["in_a_row"]


class WriteMetrics(Hook):
    """Writes metrics.jsonl and TensorBoard, and shows the progress on the screen."""

    name = "metrics_log"

    def __init__(self, state: TrainState, log: MetricsLog, display: Display, num_epochs: int) -> None:
        self.state, self.log, self.display = state, log, display
        self.num_epochs = num_epochs

    def epoch_begins(self, num_steps: int, rate: float) -> None:
        progress = self.state.progress
        self.display.start_epoch(progress.epoch, self.num_epochs, num_steps, progress.step_in_epoch)

    def step_ends(self, done: StepDone) -> None:
        result = done.result
        if done.is_logged and not result.skipped:
            losses = {name: float(value) for name, value in result.losses.items()}
            norms = {f"grad_norm/{name}": float(value) for name, value in result.gradient_norms.items()}
            norms["grad_norm"] = float(result.gradient_norm)
            progress = self.state.progress
            self.log.write("train", progress.step, progress.epoch, {"lr": done.rate, **losses, **norms})
        num_images = len(done.batch) * dist.world_size()
        self.display.step(num_images, wait_s=done.wait_s, loss=result.losses["loss"])

    def epoch_ends(self, rate: float) -> None:
        progress = self.state.progress
        means = progress.means()
        self.display.end_epoch(means)
        values = {"lr": rate, **means, **self.display.speed(), "peak_memory_bytes": peak_memory_bytes()}
        if progress.bad_in_epoch:
            values["skipped_steps"] = progress.bad_in_epoch
        self.log.write("epoch", progress.step, progress.epoch, values)

    def run_ends(self) -> None:
        self.display.close()
        self.log.close()


class Evaluate(Hook):
    """Scores val after an epoch, and says which epoch is the best so far.

    validate: () -> scores of the network. metric: the score that chooses; higher is better unless its name ends in
    `error`. With `NO_METRIC` nothing is scored, and the latest epoch is the best. ties: `first` or `last`, the epoch
    that is the best of those with the same score.
    """

    name = "evaluate"

    def __init__(
        self,
        state: TrainState,
        validate: Callable[[], Mapping[str, float | None]],
        metric: str,
        log: MetricsLog,
        every_epochs: int,
        num_epochs: int,
        ties: str = "first",
    ) -> None:
        self.state, self.validate, self.metric, self.log = state, validate, metric, log
        self.every_epochs, self.num_epochs, self.ties = every_epochs, num_epochs, ties

    def epoch_ends(self, rate: float) -> None:
        progress = self.state.progress
        if not is_due(progress.epoch, self.every_epochs, self.num_epochs):
            return
        if self.metric == NO_METRIC:
            progress.best_epoch = progress.epoch
            return
        scores = self.validate()
        self.log.write("val", progress.step, progress.epoch, scores)
        score = scores.get(self.metric)
        if score is None:
            known = ", ".join(name for name, value in scores.items() if value is not None)
            raise UserError(f"eval.metric={self.metric!r} has no value on this validation set; there are: {known}.")
        improved = progress.best_score is None or self._is_better(score, progress.best_score)
        if improved:
            progress.best_score, progress.best_epoch = float(score), progress.epoch
        best = "  (best so far)" if improved else ""
        say(f"epoch {progress.epoch + 1}/{self.num_epochs}  val {score_name(self.metric)} {percent(score)}{best}")

    def _is_better(self, score: float, best: float) -> bool:
        if score == best:
            return self.ties == "last"
        return score < best if self.metric.endswith("error") else score > best


class Checkpoint(Hook):
    """Saves `last` every `every_steps`, `every_minutes` and `every_epochs`, and `best_model` after the best epoch.

    every_steps, every_minutes: 0 is off. now_s: the clock. is_saved: whether `last` has the state that the run begins
    with.
    """

    name = "checkpoint"

    def __init__(
        self,
        state: TrainState,
        checkpointer: Checkpointer,
        every_epochs: int,
        num_epochs: int,
        every_steps: int = 0,
        every_minutes: float = 0.0,
        now_s: Callable[[], float] = time.monotonic,
        is_saved: bool = True,
    ) -> None:
        self.state, self.checkpointer = state, checkpointer
        self.every_epochs, self.num_epochs = every_epochs, num_epochs
        self.every_steps, self.every_minutes, self.now_s = every_steps, every_minutes, now_s
        self._saved_at_s = now_s()
        self._saved = self._place() if is_saved else None
        self._is_sound: Callable[[], bool] = lambda: True

    def step_ends(self, done: StepDone) -> None:
        if not done.result.skipped:
            self._is_sound = done.is_sound
        # At an epoch's end the evaluation comes first, so that the checkpoint has its score. After a skipped step
        # nothing is saved: the weights are unchanged, and may turn out to be broken.
        if done.ends_epoch or done.result.skipped:
            return
        by_steps = bool(self.every_steps) and self.state.progress.step % self.every_steps == 0
        if by_steps or self._is_time():
            self._save([LAST])

    def epoch_closed(self) -> None:
        progress = self.state.progress
        closed = progress.epoch - 1
        names = [BEST] if progress.best_epoch == closed else []
        if is_due(closed, self.every_epochs, self.num_epochs) or self._is_time():
            names.append(LAST)
        if names:
            self._save(names)

    def save_last(self) -> None:
        """Saves `last`, unless the saved one is of this very step."""
        if self._saved != self._place():
            self._save([LAST])

    def _is_time(self) -> bool:
        """Whether `every_minutes` have passed, by the clock of rank 0, for all processes."""
        if not self.every_minutes:
            return False
        passed = self.now_s() - self._saved_at_s >= 60 * self.every_minutes
        return dist.any_of([dist.is_main() and passed])[0]

    def _save(self, names: Sequence[str]) -> None:
        self.checkpointer.save(names, self._is_sound)
        if LAST in names:
            self._saved_at_s, self._saved = self.now_s(), self._place()

    def _place(self) -> tuple[int, int]:
        return self.state.progress.epoch, self.state.progress.step_in_epoch


class Preemption(Hook):
    """Saves a checkpoint and ends the run after a signal. Stands behind `Checkpoint` in the list.

    command: the command that goes on with the run.
    """

    name = "preemption"

    def __init__(self, signals: StopSignals, checkpoint: Checkpoint, command: str) -> None:
        self.signals, self.checkpoint, self.command = signals, checkpoint, command

    def step_ends(self, done: StepDone) -> None:
        self._stop_if_asked()

    def epoch_closed(self) -> None:
        self._stop_if_asked()

    def around(self, evaluate: Callable[[], T]) -> Callable[[], T]:
        """`evaluate`, made to end after a batch when a signal came, in all processes. The epoch is saved without a
        score, and a resumed run evaluates it."""

        def interruptible() -> T:
            try:
                return evaluate()
            except Stopped as stopped:
                raise self._stopped(stopped.number) from None

        return interruptible

    def _stop_if_asked(self) -> None:
        # A signal may reach one process alone, or the processes at different steps.
        if not dist.any_of([bool(self.signals.received)])[0]:
            return
        raise self._stopped(self.signals.received or STOPPED_BY_ANOTHER)

    def _stopped(self, number: int) -> Stopped:
        self.checkpoint.save_last()
        step = self.checkpoint.state.progress.step
        return Stopped(number, f"step {step} is saved; go on with {self.command}")


STOPPED_BY_ANOTHER = 15
"""SIGTERM: the signal that is reported in a process which stops because another process received one."""


def is_due(epoch: int, every_epochs: int, num_epochs: int) -> bool:
    """Whether a job of every `every_epochs` is due after this epoch (from 0); after the last one it always is."""
    done = epoch + 1
    return done % every_epochs == 0 or done == num_epochs
