"""A run that was killed goes on as if nothing had happened; other data means finetuning."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from forked_runs import on_two_ranks, started
from small_recipe import SMALL, UNSCORED

from shelfmark.cli import main
from shelfmark.engine import precision_trial
from shelfmark.engine.checkpoint import load_checkpoint
from shelfmark.engine.metrics_log import read_metrics
from shelfmark.runtime.trained_model import open_model

UNTIMED = ("images_per_s", "data_wait_share", "peak_memory_bytes")
# Batches that take their time: the signals have to come before the run ends.
AVERAGED = [*SMALL, "train.ema.decay=0.9", "train.batch_size=32"]


def _records(folder: Path) -> list[dict[str, Any]]:
    records = read_metrics(folder / "metrics.jsonl")
    return [{name: value for name, value in record.items() if name not in UNTIMED} for record in records]


def _ended_at(workplace: Path, at_step: int, number: int) -> tuple[int | None, str]:
    """Starts or continues a run and sends it a signal once `at_step` is logged: its exit status, and what it said."""
    said = workplace / "said.txt"
    words = [*AVERAGED, "name=ended", "data.num_workers=1", "--RESUME_MODEL", "auto"]
    process = started("train", words, workplace, said, {})
    assert process.pid
    file = workplace / "log" / "ended" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    try:
        while time.monotonic() < deadline and process.is_alive():
            if any(record["step"] >= at_step for record in read_metrics(file)):
                break
            time.sleep(0.03)
        os.killpg(process.pid, number)
        process.join(60)
    finally:
        if process.is_alive():
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
    return process.exitcode, said.read_text()


def test_a_run_that_was_ended_and_killed_goes_on_and_ends_with_the_same_digits(small: Path) -> None:
    assert main(["train", *AVERAGED, "name=whole"]) == 0
    last = small / "log" / "ended" / "last"
    # The whole group hears it, the loader's process too, as from a scheduler.
    status, said = _ended_at(small, at_step=4, number=signal.SIGTERM)
    assert status == 75, said
    saved = load_checkpoint(last).manifest["step"]
    assert f"step {saved} is saved; go on with `python main.py --RESUME_MODEL log/ended/last`" in said
    assert saved >= 4
    status, _ = _ended_at(small, at_step=14, number=signal.SIGKILL)
    assert status == -signal.SIGKILL
    stopped_at = load_checkpoint(last).manifest["step"]
    assert 12 <= stopped_at < 20, "the kill came after the run had ended"
    assert main(["train", "--RESUME_MODEL", str(last)]) == 0
    assert _records(last.parent) == _records(small / "log" / "whole")
    summaries = [json.loads((small / "log" / name / "summary.json").read_text()) for name in ("whole", "ended")]
    assert summaries[0] == summaries[1]
    models = [load_checkpoint(small / "log" / name / "last").read_model() for name in ("whole", "ended")]
    assert [name for name, value in models[0].items() if not value.equal(models[1][name])] == []
    assert not (small / "log" / "ended_2").exists()


def test_other_training_annotations_finetune_and_hold_out_what_would_leak(
    base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    argv = ["train", "--RESUME_MODEL", "log/base/best_model", "--DATASET_TRAIN_JSON", "val_small.json"]
    assert main([*argv, "train.steps_per_epoch=4"]) == 0
    assert "finetuning log/base/best_model" in caplog.text
    assert "held out of training" in caplog.text
    manifest = load_checkpoint(Path("log/base_finetune/last")).manifest
    total = len(json.loads(Path("val_small.json").read_text())["annotations"])
    held_out = json.loads(Path("log/base_finetune/summary.json").read_text())["num_images"]
    assert manifest["step"] == 4
    assert 0.1 * total < held_out < 0.3 * total
    assert sum(manifest["counts"]) == total - held_out
    assert main(["evaluate", "--RESUME_MODEL", "log/base_finetune/last", "--out", "scores"]) == 0
    assert json.loads(Path("scores/summary.json").read_text())["num_images"] == held_out


def test_freezing_the_backbone_is_finetuning_and_a_resume_says_so(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["train", "--RESUME_MODEL", "log/base/last.pth", "--BACKBONE_FREEZE"]
    assert main(argv) == 2
    assert "--mode finetune" in capsys.readouterr().err
    assert main([*argv, "--mode", "finetune", "optim.lr=0.5"]) == 0
    before, after = (load_checkpoint(Path("log", name, "last")).read_model() for name in ("base", "base_finetune"))
    changed = {name.split(".")[0] for name in before if not before[name].equal(after[name])}
    assert changed == {"classifier", "heads"}


def test_resuming_a_complete_run_says_so_and_reports_it_again(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = Path("log/base/summary.json").read_text()
    assert main(["train", "--RESUME_MODEL", "log/base/last"]) == 0
    assert "has all its 1 epochs; train.num_epochs=N adds more" in caplog.text
    assert Path("log/base/summary.json").read_text() == before


def test_a_run_that_goes_on_from_its_best_model_keeps_it_until_a_better_one_comes(small: Path) -> None:
    one_epoch = [*SMALL, "model.freeze_bn=true", "train.num_epochs=1", "train.steps_per_epoch=2", "eval.every_epochs=1"]
    assert main(["train", *one_epoch, "name=base"]) == 0
    resumed = ["train", "--RESUME_MODEL", "log/base/best_model", "train.num_epochs=2"]
    # At a rate so low nothing moves, and an evaluation as good as the first is not better.
    assert main([*resumed, "optim.lr=1e-12"]) == 0
    kept = load_checkpoint(Path("log/base_2/best_model"))
    assert kept.manifest["step"] == 2
    assert kept.weights_hash == load_checkpoint(Path("log/base/best_model")).weights_hash
    assert load_checkpoint(Path("log/base_2/last")).manifest["step"] == 4


@pytest.mark.dist
def test_two_processes_have_the_losses_of_one_at_the_same_global_batch(small: Path) -> None:
    # At temperature 0.01 the loss magnifies the last digit of a similarity a hundred times.
    same = [*SMALL, "model.freeze_bn=true", "train.precision=fp32", "losses.1.temperature=0.1"]
    same += ["train.num_epochs=1", "train.steps_per_epoch=3"]
    assert main(["train", *same, "name=one"]) == 0
    on_two_ranks("train", [*same, "name=two"], small)
    one, two = (_records(small / "log" / name) for name in ("one", "two"))
    assert [record["step"] for record in one] == [record["step"] for record in two]
    for ours, theirs in zip(one, two):
        for name in ("loss", "cross_entropy", "smooth_ap"):
            if name in ours:
                assert theirs[name] == pytest.approx(ours[name], rel=1e-5)
        for name in ("grad_norm/cross_entropy", "grad_norm/smooth_ap"):
            if name in ours:
                assert theirs[name] == pytest.approx(ours[name], rel=1e-3)
        if ours["kind"] == "val":
            assert theirs["num_images"] == ours["num_images"]


def test_a_resumed_run_keeps_its_precision_without_another_trial(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(precision_trial, "bf16_gain", lambda backbone, size_px: 2.0)
    auto = ["train.precision=auto", *UNSCORED, "train.steps_per_epoch=1"]
    assert main(["train", *SMALL, *auto, "train.num_epochs=1"]) == 0
    last = small / "log" / "shop" / "last"
    monkeypatch.setattr(precision_trial, "bf16_gain", lambda backbone, size_px: pytest.fail("another trial"))
    assert main(["train", "--RESUME_MODEL", str(last), "train.num_epochs=2"]) == 0
    assert load_checkpoint(last).manifest["precision"] == "bf16"
    assert open_model(last).precision.name == "bf16"
