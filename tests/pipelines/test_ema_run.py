"""A run that averages its weights: what is scored, saved, resumed, finetuned, and what a stage begins with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from small_recipe import SMALL, UNSCORED
from torch import Tensor

from shelfmark.cli import main
from shelfmark.engine.checkpoint import load_checkpoint
from shelfmark.engine.metrics_log import read_metrics

AVERAGED = [
    *SMALL,
    "losses=[{name: cross_entropy}]",
    "train.ema.decay=0.8",
    "train.num_epochs=2",
    "train.steps_per_epoch=4",
    "eval.every_epochs=1",
]
STAGED = [
    *AVERAGED,
    *UNSCORED,
    "train.stages=[{from_epoch: 1, freeze: [backbone], classifier: restart, lr: 0.5}]",
]


def _model(folder: Path) -> dict[str, Tensor]:
    return load_checkpoint(folder).read_model()


def _learning(folder: Path) -> dict[str, Tensor]:
    """The weights that the average follows."""
    weights: dict[str, Tensor] = load_checkpoint(folder).read_state()["ema"]["weights"]
    return weights


def _changed(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> set[str]:
    """The parts that differ."""
    assert ours.keys() == theirs.keys()
    return {name.split(".")[0] for name, value in ours.items() if not torch.equal(value, theirs[name])}


def test_the_average_is_scored_and_saved_and_finetuned(small: Path) -> None:
    assert main(["train", *AVERAGED, "name=run", "eval.metric=top1"]) == 0
    last, best = Path("log/run/last"), Path("log/run/best_model")
    assert _changed(_model(last), _learning(last)) == {"backbone", "classifier"}
    chosen = load_checkpoint(best).manifest
    scores = {
        record["epoch"]: record["top1"] for record in read_metrics(Path("log/run/metrics.jsonl")) if "top1" in record
    }
    # The summary is of the saved model, and is what its evaluation during the training said.
    summary = json.loads(Path("log/run/summary.json").read_text())
    assert summary["top1"] == pytest.approx(scores[chosen["best_epoch"]])
    assert chosen["best_score"] == max(scores.values())
    finetuned = ["train", "--RESUME_MODEL", str(last), "--mode", "finetune", "train.num_epochs=1", "optim.lr=1e-12"]
    assert main([*finetuned, "train.steps_per_epoch=1", "model.freeze_bn=true", "train.ema.decay=0"]) == 0
    for name, value in _model(Path("log/run_finetune/last")).items():
        torch.testing.assert_close(value, _model(last)[name], rtol=0, atol=1e-7)


def test_a_stage_begins_with_the_average_and_every_resume_gives_the_same_digits(kept: dict[int, Path]) -> None:
    assert main(["train", *STAGED, "name=whole"]) == 0
    assert sorted(kept) == [3, 4, 6, 8]
    # The frozen backbone of the second stage is the averaged one of the first, not the one behind it.
    assert _changed(_model(kept[6]), _model(kept[4])) == {"classifier"}
    assert _changed(_learning(kept[6]), _model(kept[4])) == {"classifier"}
    assert _changed(_learning(kept[4]), _model(kept[4])) == {"backbone", "classifier"}
    for step in (3, 4, 6):
        assert main(["train", "--RESUME_MODEL", str(kept[step]), f"name=from_{step}"]) == 0
        resumed, whole = Path(f"log/from_{step}/last"), Path("log/whole/last")
        assert _changed(_model(resumed), _model(whole)) == set(), step
        assert _changed(_learning(resumed), _learning(whole)) == set(), step


def test_an_average_begins_where_a_run_without_one_goes_on(
    kept: dict[int, Path], caplog: pytest.LogCaptureFixture
) -> None:
    plain = [*AVERAGED, *UNSCORED, "train.ema.decay=0", "train.num_epochs=1", "name=plain"]
    assert main(["train", *plain]) == 0
    assert "ema" not in load_checkpoint(kept[4]).read_state()
    resumed = [
        "train",
        "--RESUME_MODEL",
        str(kept[4]),
        "name=averaged",
        "train.num_epochs=2",
        "train.steps_per_epoch=1",
    ]
    assert main([*resumed, "train.ema.decay=0.5"]) == 0
    assert "the average begins with its weights" in caplog.text
    last = Path("log/averaged/last")
    before, after, average = _model(kept[4]), _learning(last), _model(last)
    weight = "classifier.weight"
    torch.testing.assert_close(average[weight], 0.1 * before[weight] + 0.9 * after[weight])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="this machine has no C++ compiler")
def test_a_compiled_run_with_an_average_goes_on_with_the_same_digits(kept: dict[int, Path]) -> None:
    compiled = [
        *AVERAGED,
        *UNSCORED,
        "train.precision=fp32",
        "optim.lr=0.001",
        "train.compile=true",
        "augment.sizes=[{from_epoch: 1, size_px: 40}]",
    ]
    assert main(["train", *compiled, "name=plain", "train.compile=false"]) == 0
    # Last, for `kept` has its checkpoints then.
    assert main(["train", *compiled, "name=whole"]) == 0
    for step in (3, 4, 6):
        torch._dynamo.reset()  # as in a process of its own
        assert main(["train", "--RESUME_MODEL", str(kept[step]), f"name=from_{step}"]) == 0
        resumed, uninterrupted = Path(f"log/from_{step}/last"), Path("log/whole/last")
        assert _changed(_model(resumed), _model(uninterrupted)) == set(), step
        assert _changed(_learning(resumed), _learning(uninterrupted)) == set(), step
    assert main(["train", "--RESUME_MODEL", str(kept[6]), "name=from_compiled", "train.compile=false"]) == 0
    whole = _losses("whole")
    for name in ("plain", "from_compiled"):
        # A last digit may decide which side of a ReLU a number is on: weights are not compared.
        assert _losses(name) == pytest.approx({step: whole[step] for step in _losses(name)}, rel=1e-3), name
    assert [*_losses("from_compiled")] == [7, 8]


def _losses(name: str) -> dict[int, float]:
    """Of each step."""
    records = read_metrics(Path("log", name, "metrics.jsonl"))
    return {record["step"]: record["loss"] for record in records if record["kind"] == "train"}
