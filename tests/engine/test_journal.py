"""metrics.jsonl: appended while a run goes on, cut back to the checkpoint when it is resumed."""

from __future__ import annotations

from pathlib import Path

from shelfmark.engine.journal import Journal, read_journal


def test_records_come_back_in_order_with_step_and_epoch(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write("train", 20, 0, {"loss": 2.5})
    journal.write("val", 41, 0, {"top1": 0.25, "few": float("nan")})
    journal.close()
    assert read_journal(tmp_path / "metrics.jsonl") == [
        {"kind": "train", "step": 20, "epoch": 0, "loss": 2.5},
        {"kind": "val", "step": 41, "epoch": 0, "top1": 0.25, "few": None},
    ]


def test_a_resumed_run_drops_what_comes_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for step in (20, 40, 60):
        journal.write("train", step, 0, {"loss": 1.0})
    journal.close()
    Journal(tmp_path, step=40).close()
    assert [record["step"] for record in read_journal(tmp_path / "metrics.jsonl")] == [20, 40]


def test_a_last_line_that_a_kill_cut_off_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"kind": "train", "step": 20, "epoch": 0}\n{"kind": "tra')
    assert [record["step"] for record in read_journal(tmp_path / "metrics.jsonl")] == [20]


def test_there_are_no_records_before_the_first(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "metrics.jsonl") == []
