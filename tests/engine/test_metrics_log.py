"""metrics.jsonl: appended while a run goes on, cut back to the checkpoint when it is resumed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from shelfmark.core.errors import UserError
from shelfmark.engine.metrics_log import MetricsLog, read_metrics


def test_records_come_back_in_order_with_step_and_epoch(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.write("train", 20, 0, {"loss": 2.5})
    log.write("val", 41, 0, {"top1": 0.25, "few": float("nan")})
    log.close()
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"kind": "train", "step": 20, "epoch": 0, "loss": 2.5},
        {"kind": "val", "step": 41, "epoch": 0, "top1": 0.25, "few": None},
    ]


def test_a_resumed_run_drops_what_comes_again(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for step in (20, 40, 60):
        log.write("train", step, 0, {"loss": 1.0})
    log.close()
    MetricsLog(tmp_path, step=40).close()
    assert [record["step"] for record in read_metrics(tmp_path / "metrics.jsonl")] == [20, 40]


def test_a_last_line_that_a_kill_cut_off_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"kind": "train", "step": 20, "epoch": 0}\n{"kind": "tra')
    assert [record["step"] for record in read_metrics(tmp_path / "metrics.jsonl")] == [20]


def test_there_are_no_records_before_the_first(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_an_epoch_that_was_not_closed_ends_again(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for kind, step, epoch in (("epoch", 5, 0), ("val", 5, 0), ("train", 10, 1), ("epoch", 10, 1), ("val", 10, 1)):
        log.write(kind, step, epoch, {})
    log.close()
    # Stopped after step 10, the last of epoch 1, and before its end.
    MetricsLog(tmp_path, step=10, epoch=1).close()
    kinds = [(record["kind"], record["epoch"]) for record in read_metrics(tmp_path / "metrics.jsonl")]
    assert kinds == [("epoch", 0), ("val", 0), ("train", 1)]


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(UserError, match=r"metrics\.jsonl cannot be written any more: No such file"):
        log.write("train", 1, 0, {"loss": 1.0})


def test_a_full_disk_is_told_with_what_is_needed(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"metrics\.jsonl cannot be written: no space .* bytes are needed"):
        log.write("train", 1, 0, {"loss": 1.0})
