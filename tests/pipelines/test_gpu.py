"""The road on a GPU: the same first loss as on the CPU, and a whole run in mixed precision."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_recipe import SMALL

from shelfmark.cli import main
from shelfmark.engine.metrics_log import read_metrics

pytestmark = pytest.mark.gpu


def _first_loss(folder: Path) -> float:
    return next(record["loss"] for record in read_metrics(folder / "metrics.jsonl") if record["kind"] == "train")


def test_the_first_loss_on_the_gpu_is_that_of_the_cpu(small: Path) -> None:
    for device in ("cpu", "cuda"):
        short = ["train.precision=fp32", "train.num_epochs=1", "train.steps_per_epoch=2", "losses.1.temperature=0.1"]
        assert main(["train", *SMALL, *short, f"train.device={device}", f"name={device}"]) == 0
    losses = [_first_loss(small / "log" / device) for device in ("cpu", "cuda")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


@pytest.mark.parametrize("precision", ["auto", "fp16"])
def test_a_whole_run_goes_through_in_mixed_precision_and_resumes(small: Path, precision: str) -> None:
    assert main(["train", *SMALL, "train.device=cuda", f"train.precision={precision}", "name=mixed"]) == 0
    assert main(["train", "--RESUME_MODEL", "log/mixed/best_model", "train.num_epochs=3"]) == 0
    records = read_metrics(small / "log" / "mixed_2" / "metrics.jsonl")
    assert records[-1]["epoch"] == 2


def test_a_compiled_run_in_parts_with_an_average_resumes(small: Path) -> None:
    options = ["losses=[{name: cross_entropy}]", "train.device=cuda", "train.compile=true", "train.accumulate_steps=2"]
    options += ["train.ema.decay=0.9", "model.grad_checkpointing=true", "optim.name=adamw", "optim.lr=0.001"]
    assert main(["train", *SMALL, *options, "name=all"]) == 0
    assert main(["train", "--RESUME_MODEL", "log/all/best_model", "train.num_epochs=3", "train.compile=false"]) == 0
    records = read_metrics(small / "log" / "all_2" / "metrics.jsonl")
    assert records[-1]["epoch"] == 2
