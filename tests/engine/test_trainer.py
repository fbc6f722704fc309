"""The loop: what happens when, and which checkpoint is the best."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from shelfmark.core.contracts import Batch
from shelfmark.core.errors import UserError
from shelfmark.data.bad_images import BadImageLog
from shelfmark.engine.display import Display
from shelfmark.engine.journal import Journal, read_journal
from shelfmark.engine.progress import Progress
from shelfmark.engine.step import StepResult
from shelfmark.engine.trainer import Rhythm, Trainer
from shelfmark.optim import LearningRate, StagedRate

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
    """Loss: the number of the step. Stands in for the network and the optimizer."""

    def __init__(self, losses: dict[int, float] | None = None) -> None:
        self.rates: list[float] = []
        self.losses = losses or {}

    def __call__(self, batch: Batch, learning_rate: float, step: int, measure_gradients: bool) -> StepResult:
        self.rates.append(learning_rate)
        value = self.losses.get(len(self.rates), float(len(self.rates)))
        return StepResult({"loss": torch.tensor(value)}, {"ce": torch.tensor(0.5)} if measure_gradients else {})

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": {}, "scaler": {}, "memories": {}}


def _trainer(
    tmp_path: Path, scores: list[float], step: Step | None = None, **changes: Any
) -> tuple[Trainer, list[Any]]:
    saved: list[Any] = []
    rhythm = {
        "num_epochs": len(scores),
        "log_every_steps": 2,
        "checkpoint_every_steps": 0,
        "checkpoint_every_epochs": 1,
        "evaluate_every_epochs": 1,
    } | {name: value for name, value in changes.items() if name in Rhythm.__dataclass_fields__}
    remaining = iter(scores)
    only = step or Step()
    trainer = Trainer(
        step=only,  # type: ignore[arg-type]
        step_for=changes.get("step_for", lambda epoch: only),
        loader=Loader(),  # type: ignore[arg-type]
        learning_rate=StagedRate(((0, LearningRate(1.0, "constant", steps_per_epoch=NUM_STEPS, num_epochs=10)),)),
        rhythm=Rhythm(**rhythm),
        metric=changes.get("metric", "top1"),
        validate=lambda: {changes.get("metric", "top1"): next(remaining), "few": None},
        save=lambda names, state: saved.append((*names, state["progress"]["step"], state["progress"]["epoch"])),
        progress=changes.get("progress", Progress()),
        journal=Journal(tmp_path),
        display=Display(Console(file=io.StringIO())),
        bad_images=BadImageLog(tmp_path / "bad_images.csv", num_images=10),
    )
    return trainer, saved


def test_the_best_epoch_is_kept_and_the_last_always_saved(tmp_path: Path) -> None:
    trainer, saved = _trainer(tmp_path, [0.2, 0.5, 0.4])
    trainer.fit()
    assert saved == [("best_model", "last", 5, 1), ("best_model", "last", 10, 2), ("last", 15, 3)]
    assert (trainer.progress.best_score, trainer.progress.best_epoch) == (0.5, 1)


def test_each_epoch_is_trained_by_the_step_of_its_stage(tmp_path: Path) -> None:
    first, second = Step(), Step()
    trainer, _ = _trainer(tmp_path, [0.1, 0.2, 0.3], first, step_for=lambda epoch: first if epoch < 2 else second)
    trainer.fit()
    assert (len(first.rates), len(second.rates)) == (2 * NUM_STEPS, NUM_STEPS)
    assert trainer.step is second


def test_of_equal_scores_the_first_stays_the_best(tmp_path: Path) -> None:
    trainer, _ = _trainer(tmp_path, [0.5, 0.5])
    trainer.fit()
    assert trainer.progress.best_epoch == 0


def test_an_error_is_better_when_it_is_smaller(tmp_path: Path) -> None:
    trainer, _ = _trainer(tmp_path, [0.9, 0.3, 0.6], metric="mean_class_error")
    trainer.fit()
    assert trainer.progress.best_epoch == 1


def test_checkpoints_within_an_epoch_leave_its_end_to_the_evaluation(tmp_path: Path) -> None:
    trainer, saved = _trainer(tmp_path, [0.1, 0.1], checkpoint_every_steps=5, checkpoint_every_epochs=9)
    trainer.fit()
    # Step 5 ends epoch 0: a checkpoint before its evaluation would let a resume skip it.
    assert saved == [("best_model", 5, 1), ("last", 10, 2)]


def test_a_resumed_epoch_asks_for_the_batches_that_are_left(tmp_path: Path) -> None:
    progress = Progress(epoch=1, step_in_epoch=3, step=8)
    trainer, _ = _trainer(tmp_path, [0.1, 0.2, 0.3], progress=progress)
    trainer.fit()
    assert trainer.loader.began == [(1, 3), (2, 0)]  # type: ignore[attr-defined]
    assert trainer.progress.step == 15


def test_evaluation_follows_its_rhythm_and_never_misses_the_last_epoch(tmp_path: Path) -> None:
    trainer, _ = _trainer(tmp_path, [0.1, 0.2, 0.3], evaluate_every_epochs=2)
    trainer.fit()
    records = read_journal(tmp_path / "metrics.jsonl")
    assert [record["epoch"] for record in records if record["kind"] == "val"] == [1, 2]


def test_steps_are_logged_with_rate_losses_and_gradient_norms(tmp_path: Path) -> None:
    trainer, _ = _trainer(tmp_path, [0.1])
    trainer.fit()
    records = [record for record in read_journal(tmp_path / "metrics.jsonl") if record["kind"] == "train"]
    assert [record["step"] for record in records] == [2, 4]
    assert records[0] == {"kind": "train", "step": 2, "epoch": 0, "lr": 1.0, "loss": 2.0, "grad_norm/ce": 0.5}


@pytest.mark.parametrize("step", [2, 3])
def test_a_loss_that_is_no_number_ends_the_run_before_anything_is_saved(tmp_path: Path, step: int) -> None:
    trainer, saved = _trainer(tmp_path, [0.1], step=Step({step: float("nan")}))
    with pytest.raises(UserError, match=r"not a number at step \d.*Lower optim\.lr"):
        trainer.fit()
    assert saved == []


def test_a_metric_without_a_value_lists_those_that_have_one(tmp_path: Path) -> None:
    trainer, _ = _trainer(tmp_path, [0.1])
    trainer.metric = "few"
    with pytest.raises(UserError, match=r"eval\.metric='few' has no value on this validation set; there are: top1"):
        trainer.fit()
