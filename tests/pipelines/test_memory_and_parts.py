"""A cross-batch memory, views of an image and GradCache in a whole run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_recipe import SMALL, UNSCORED

from shelfmark.cli import main
from shelfmark.engine.checkpoint import load_checkpoint
from shelfmark.engine.metrics_log import read_metrics

WITH_MEMORY = [
    *SMALL,
    "train.batch_size=32",
    *UNSCORED,
    "model.heads={rank: {dim: 16}, contrast: {dim: 16, hidden_dim: 24}}",
    "losses=[{name: gpaco, vectors_head: contrast, memory_rows: 80},"
    " {name: smooth_ap, head: rank, weight: 0.5, memory_rows: 80, memory_from_step: 4}]",
    "augment.views=2",
    "train.steps_per_epoch=6",
    "train.checkpoint_every_steps=6",
    "optim.schedule.name=constant",
]


def _train_records(name: str) -> list[dict[str, Any]]:
    return [record for record in read_metrics(Path("log", name, "metrics.jsonl")) if record["kind"] == "train"]


def _memory(name: str, loss: str) -> Any:
    return load_checkpoint(Path("log", name, "last")).read_state()["memories"][loss]


def test_a_memory_counts_from_its_step_on_and_a_resume_goes_on_with_it_and_the_views_to_the_same_digits(
    kept: dict[int, Path], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["train", *WITH_MEMORY, "name=whole"]) == 0
    middle, records = kept[6].rename("middle"), _train_records("whole")
    assert main(["train", "--RESUME_MODEL", str(middle), "name=resumed"]) == 0
    assert _train_records("resumed") == records[6:]
    assert [record["step"] for record in records] == list(range(1, 13))
    assert all(record["gpaco"] > 0 for record in records)
    for loss in ("smooth_ap", "gpaco"):
        whole, resumed = _memory("whole", loss), _memory("resumed", loss)
        assert whole["vectors"].shape == (80, 16)
        assert whole["vectors"].equal(resumed["vectors"])
    assert "starts empty" not in caplog.text

    without = ["losses.1.memory_rows=0", "losses.1.memory_from_step=0", "train.num_epochs=1"]
    assert main(["train", *WITH_MEMORY, *without, "name=none"]) == 0
    same = [ours["smooth_ap"] == theirs["smooth_ap"] for ours, theirs in zip(records, _train_records("none"))]
    assert same == [True] * 4 + [False] * 2

    argv = ["train", "--RESUME_MODEL", str(middle), "train.steps_per_epoch=1"]
    assert main([*argv, "--mode", "finetune", "name=tuned", "train.num_epochs=1"]) == 0
    # One batch of 32: nothing was there before.
    assert len(_memory("tuned_finetune", "smooth_ap")["labels"]) == 32
    document = json.loads(Path("dataset/shop/train.json").read_text())
    document["annotations"].pop()
    Path("fewer.json").write_text(json.dumps(document))
    assert main([*argv, "--mode", "resume", "data.train_json=fewer.json", "name=other"]) == 0
    assert len(_memory("other", "smooth_ap")["labels"]) == 32
    assert "the memory of smooth_ap starts empty" in caplog.text


def test_training_in_parts_is_training_where_batch_norm_is_frozen_and_else_warns(
    small: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = [*SMALL, *UNSCORED, "train.batch_size=32", "train.num_epochs=1", "train.steps_per_epoch=3"]
    # At temperature 0.01 the loss magnifies the last digit of a similarity a hundred times.
    frozen = [*short, "model.freeze_bn=true", "losses.1.temperature=0.1"]
    assert main(["train", *frozen, "name=whole"]) == 0
    assert main(["train", *frozen, "name=parts", "train.grad_cache=10"]) == 0
    for ours, theirs in zip(_train_records("parts"), _train_records("whole"), strict=True):
        for name in ("loss", "cross_entropy", "smooth_ap"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4)
        for name in ("grad_norm/cross_entropy", "grad_norm/smooth_ap"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-2)
    assert main(["train", *short, "name=large_parts", "train.steps_per_epoch=1", "train.grad_cache=32"]) == 0
    assert "warning" not in caplog.text
    assert main(["train", *short, "name=warned", "train.steps_per_epoch=1", "train.grad_cache=10"]) == 0
    assert caplog.text.count("train.grad_cache=10: batch norm normalises each part") == 1
    alone = ["losses=[{name: cross_entropy}]", "train.steps_per_epoch=1", "train.accumulate_steps=5"]
    assert main(["train", *short, *alone, "name=accumulated"]) == 0
    assert "train.accumulate_steps=5: batch norm normalises each part of at most 7 images" in caplog.text


def test_a_negative_number_of_images_is_refused(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *SMALL, "train.grad_cache=-1"]) == 2
    assert "train.grad_cache=-1" in capsys.readouterr().err
