"""The loop and its hooks: what happens when, which checkpoint is the best, and what a bad step does."""

from __future__ import annotations

import io
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from from_options import learning_rate
from rich.console import Console

from shelfmark.core.contracts import Batch
from shelfmark.core.errors import UserError
from shelfmark.core.stopping import Stopped, StopSignals, raise_if_stopped
from shelfmark.data.bad_images import BadImageLog
from shelfmark.engine.display import Display
from shelfmark.engine.hook import Hook, Hooks
from shelfmark.engine.hooks import BadImages, Checkpoint, Evaluate, FiniteCheck, Preemption, WriteMetrics
from shelfmark.engine.metrics_log import MetricsLog, read_metrics
from shelfmark.engine.progress import Progress
from shelfmark.engine.step import StepResult
from shelfmark.engine.trainer import Trainer
from shelfmark.optim import StagedRate

NUM_STEPS = 5


class Loader:
    """Five batches an epoch; remembers where each epoch began."""

    def __init__(self) -> None:
        self.began: list[tuple[int, int]] = []

    def num_batches(self, epoch: int) -> int:
        return NUM_STEPS

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        self.began.append((epoch, start_step))
        for _ in range(start_step, NUM_STEPS):
            yield Batch(torch.zeros(2, 3, 1, 1), torch.zeros(2, dtype=torch.int64), torch.arange(2))


class Step:
    """Loss: the number of the step. Stands in for the network and the optimizer. bad: the steps that are skipped."""

    def __init__(self, bad: tuple[int, ...] = (), then: dict[int, Any] | None = None) -> None:
        self.rates: list[float] = []
        self.bad, self.then = bad, then or {}

    def __call__(self, batch: Batch, learning_rate: float, step: int, measure_gradients: bool) -> StepResult:
        self.rates.append(learning_rate)
        done = len(self.rates)
        self.then.get(done, lambda: None)()
        is_bad = done in self.bad
        loss = torch.tensor(float("nan") if is_bad else float(done))
        norms = {"ce": torch.tensor(0.5)} if measure_gradients else {}
        return StepResult({"loss": loss}, norms, torch.tensor(2.0), "the loss is not finite" if is_bad else "")

    def is_sound(self, batch: Batch, step: int) -> bool:
        return True


@dataclass
class State:
    """As much of a TrainState as hooks ask for."""

    progress: Progress = field(default_factory=Progress)


@dataclass
class Saved:
    """What a checkpointer was asked for: names, step, epoch."""

    state: State
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def save(self, names: list[str], is_sound: Callable[[], bool]) -> None:
        assert is_sound()
        self.calls.append((*names, self.state.progress.step, self.state.progress.epoch))


@dataclass
class Run:
    trainer: Trainer
    saved: Saved
    checkpoint: Checkpoint
    evaluate: Evaluate
    signals: StopSignals
    hooks: Hooks


def run_of(tmp_path: Path, scores: list[float], step: Step | None = None, **changes: Any) -> Run:
    only, signals = step or Step(), StopSignals()
    state: Any = State(changes.get("progress", Progress()))
    saved, num_epochs, metric = Saved(state), len(scores), changes.get("metric", "top1")
    log = MetricsLog(tmp_path)
    remaining = iter(scores)
    checkpoint = Checkpoint(
        state,
        saved,  # type: ignore[arg-type]
        every_epochs=changes.get("checkpoint_every_epochs", 1),
        num_epochs=num_epochs,
        every_steps=changes.get("checkpoint_every_steps", 0),
        every_minutes=changes.get("every_minutes", 0.0),
        now_s=changes.get("now_s", lambda: 0.0),
    )
    preemption = Preemption(signals, checkpoint, "the command")
    validate = preemption.around(changes.get("validate", lambda: {metric: next(remaining), "few": None}))
    every = changes.get("evaluate_every_epochs", 1)
    evaluate = Evaluate(state, validate, metric, log, every, num_epochs, changes.get("ties", "first"))
    hooks = Hooks(
        [
            BadImages(BadImageLog(tmp_path / "bad_images.csv", num_images=10)),
            FiniteCheck(state, log, lambda row: f"image {row}", changes.get("max_bad_steps", 3), tmp_path),
            WriteMetrics(state, log, Display(Console(file=io.StringIO())), num_epochs),
            evaluate,
            checkpoint,
            preemption,
        ]
    )
    trainer = Trainer(
        state=state,
        step_for=changes.get("step_for", lambda epoch: only),
        loader=Loader(),  # type: ignore[arg-type]
        learning_rate=StagedRate(((0, learning_rate(1.0, "constant", steps_per_epoch=NUM_STEPS, num_epochs=10)),)),
        hooks=hooks,
        num_epochs=num_epochs,
        log_every_steps=2,
    )
    return Run(trainer, saved, checkpoint, evaluate, signals, hooks)


def test_the_best_epoch_is_kept_and_the_last_always_saved(tmp_path: Path) -> None:
    run = run_of(tmp_path, [0.2, 0.5, 0.4])
    run.trainer.fit()
    assert run.saved.calls == [("best_model", "last", 5, 1), ("best_model", "last", 10, 2), ("last", 15, 3)]
    progress = run.trainer.state.progress
    assert (progress.best_score, progress.best_epoch) == (0.5, 1)


def test_each_epoch_is_trained_by_the_step_of_its_stage(tmp_path: Path) -> None:
    first, second = Step(), Step()
    run_of(tmp_path, [0.1, 0.2, 0.3], step_for=lambda epoch: first if epoch < 2 else second).trainer.fit()
    assert (len(first.rates), len(second.rates)) == (2 * NUM_STEPS, NUM_STEPS)


@pytest.mark.parametrize(("ties", "best_epoch"), [("first", 1), ("last", 2)])
@pytest.mark.parametrize(
    ("metric", "scores"), [("top1", [0.4, 0.5, 0.5, 0.3]), ("mean_class_error", [0.6, 0.5, 0.5, 0.7])]
)
def test_which_of_equal_scores_is_the_best_is_an_option(
    tmp_path: Path, ties: str, best_epoch: int, metric: str, scores: list[float]
) -> None:
    run = run_of(tmp_path, scores, ties=ties, metric=metric)
    run.trainer.fit()
    assert run.trainer.state.progress.best_epoch == best_epoch


def test_an_error_is_better_when_it_is_smaller(tmp_path: Path) -> None:
    run = run_of(tmp_path, [0.9, 0.3, 0.6], metric="mean_class_error")
    run.trainer.fit()
    assert run.trainer.state.progress.best_epoch == 1


def test_checkpoints_within_an_epoch_leave_its_end_to_the_evaluation(tmp_path: Path) -> None:
    run = run_of(tmp_path, [0.1, 0.1], checkpoint_every_steps=5, checkpoint_every_epochs=9)
    run.trainer.fit()
    # Step 5 ends epoch 0: a checkpoint before its evaluation would let a resume skip it.
    assert run.saved.calls == [("best_model", 5, 1), ("last", 10, 2)]


def test_a_checkpoint_is_due_when_its_minutes_are_over(tmp_path: Path) -> None:
    clock = [0.0]

    def tick() -> None:
        clock[0] += 25.0

    step = Step(then=dict.fromkeys(range(1, 6), tick))
    run_of(tmp_path, [0.1], step, every_minutes=1.0, now_s=lambda: clock[0]).trainer.fit()
    run = run_of(
        tmp_path, [0.1], Step(then=dict.fromkeys(range(1, 6), tick)), every_minutes=1.0, now_s=lambda: clock[0]
    )
    run.trainer.fit()
    # 25, 50 and 75 seconds: the third step is the first that ends after a minute.
    assert run.saved.calls == [("last", 3, 0), ("best_model", "last", 5, 1)]


def test_a_resumed_epoch_asks_for_the_batches_that_are_left(tmp_path: Path) -> None:
    run = run_of(tmp_path, [0.1, 0.2, 0.3], progress=Progress(epoch=1, step_in_epoch=3, step=8, position=8))
    run.trainer.fit()
    assert run.trainer.loader.began == [(1, 3), (2, 0)]  # type: ignore[attr-defined]
    assert run.trainer.state.progress.step == 15


def test_an_epoch_that_was_saved_before_its_evaluation_is_evaluated_after_a_resume(tmp_path: Path) -> None:
    sums = {"loss": torch.tensor(15.0)}
    run = run_of(tmp_path, [0.1], progress=Progress(epoch=0, step_in_epoch=5, step=5, position=5, summed=5, sums=sums))
    run.trainer.fit()
    assert [record["kind"] for record in read_metrics(tmp_path / "metrics.jsonl")] == ["epoch", "val"]
    assert run.saved.calls == [("best_model", "last", 5, 1)]


def test_evaluation_follows_its_rhythm_and_never_misses_the_last_epoch(tmp_path: Path) -> None:
    run_of(tmp_path, [0.1, 0.2, 0.3], evaluate_every_epochs=2).trainer.fit()
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert [record["epoch"] for record in records if record["kind"] == "val"] == [1, 2]


def test_steps_are_logged_with_rate_losses_and_gradient_norms(tmp_path: Path) -> None:
    run_of(tmp_path, [0.1]).trainer.fit()
    records = [record for record in read_metrics(tmp_path / "metrics.jsonl") if record["kind"] == "train"]
    assert [record["step"] for record in records] == [2, 4]
    losses = {"loss": 2.0, "grad_norm/ce": 0.5, "grad_norm": 2.0}
    assert records[0] == {"kind": "train", "step": 2, "epoch": 0, "lr": 1.0, **losses}


def test_a_bad_step_is_logged_with_its_images_and_is_no_part_of_the_mean(tmp_path: Path) -> None:
    run_of(tmp_path, [0.1], Step(bad=(2,))).trainer.fit()
    records = read_metrics(tmp_path / "metrics.jsonl")
    (skipped,) = [record for record in records if record["kind"] == "skipped"]
    assert (skipped["step"], skipped["image_ids"]) == (2, ["image 0", "image 1"])
    (epoch,) = [record for record in records if record["kind"] == "epoch"]
    # Steps 1, 3, 4 and 5; order and schedule have gone on.
    assert (epoch["loss"], epoch["skipped_steps"], epoch["step"]) == (13 / 4, 1, 5)


def test_bad_steps_in_a_row_end_the_run_and_single_ones_do_not(tmp_path: Path) -> None:
    run_of(tmp_path, [0.1], Step(bad=(1, 2, 4, 5)), max_bad_steps=3).trainer.fit()
    run = run_of(tmp_path, [0.1], Step(bad=(2, 3, 4)), max_bad_steps=3)
    with pytest.raises(UserError, match=r"3 steps in a row were skipped.*no checkpoint was written yet"):
        run.trainer.fit()
    assert run.saved.calls == []


def test_bad_steps_in_a_row_are_counted_over_a_resume(tmp_path: Path) -> None:
    run = run_of(tmp_path, [0.1], Step(bad=(1,)), max_bad_steps=3)
    run.hooks.load_state_dict({"finite_check": {"in_a_row": 2}})
    with pytest.raises(UserError, match="3 steps in a row"):
        run.trainer.fit()


def test_a_metric_without_a_value_lists_those_that_have_one(tmp_path: Path) -> None:
    run = run_of(tmp_path, [0.1])
    run.evaluate.metric = "few"
    with pytest.raises(UserError, match=r"eval\.metric='few' has no value on this validation set; there are: top1"):
        run.trainer.fit()


def test_a_signal_lets_the_step_end_saves_and_stops(tmp_path: Path) -> None:
    run = run_of(tmp_path, [0.1, 0.2], Step(then={7: lambda: signal.raise_signal(signal.SIGTERM)}))
    with run.signals, pytest.raises(Stopped, match="stopped by SIGTERM: step 7 is saved; go on with the command"):
        run.trainer.fit()
    assert run.saved.calls == [("best_model", "last", 5, 1), ("last", 7, 1)]


def test_a_signal_at_a_step_that_is_saved_anyway_saves_once(tmp_path: Path) -> None:
    step = Step(then={2: lambda: signal.raise_signal(signal.SIGUSR1)})
    run = run_of(tmp_path, [0.1], step, checkpoint_every_steps=2)
    with run.signals, pytest.raises(Stopped):
        run.trainer.fit()
    assert run.saved.calls == [("last", 2, 0)]


def test_a_signal_in_the_evaluation_ends_it_and_saves_the_epoch_as_it_stands(tmp_path: Path) -> None:
    reached: list[str] = []

    def validate() -> dict[str, float]:
        signal.raise_signal(signal.SIGINT)
        raise_if_stopped()
        reached.append("the end")
        return {"top1": 0.1}

    run = run_of(tmp_path, [0.1], validate=validate)
    with run.signals, pytest.raises(Stopped) as stopped:
        run.trainer.fit()
    assert (reached, run.saved.calls) == ([], [("last", 5, 0)])
    assert stopped.value.exit_status == 130


def test_two_hooks_of_one_name_are_refused() -> None:
    class Named(Hook):
        name = "twice"

    with pytest.raises(ValueError, match="a name of its own"):
        Hooks([Named(), Named()])
    with pytest.raises(ValueError, match="a name of its own"):
        Hooks([Hook()])
