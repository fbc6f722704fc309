"""What `make compare-commits` calls the same, on made-up run folders in which one thing was changed."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from compare_commits import DIFFERS, SAME, Outcome, verdict
from run_difference import Comparison, compare_runs

LAST = "last/model.safetensors"
RECORDS = [
    {"kind": "train", "step": 2, "loss": 4.628837585449219, "grad_norm": math.nan},
    {"kind": "train", "step": 4, "loss": 4.833034515380859},
    {"kind": "epoch", "step": 4, "loss": 4.727584719657898, "images_per_s": 171.4, "data_wait_share": 0.2},
    {"kind": "val", "step": 4, "top1": 0.25, "num_images": 32},
]


def write_records(run: Path, records: list[dict[str, Any]]) -> None:
    (run / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))


def write_weights(run: Path, **changed: torch.Tensor) -> None:
    weights = {
        "fc.weight": torch.arange(6.0).reshape(2, 3),
        "fc.bias": torch.tensor([0.5, -0.0]).bfloat16(),
        "steps": torch.tensor(8),
    }
    for name in ("best_model", "last"):
        (run / name).mkdir(exist_ok=True)
        save_file(weights | changed, run / name / "model.safetensors")


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    """Two equal folders of one run."""
    run = tmp_path / "old" / "shop_smoke"
    run.mkdir(parents=True)
    write_records(run, RECORDS)
    (run / "summary.json").write_text(json.dumps({"top1": 0.25, "recall@1": 0.125, "by_group": {"few": [0.1, 0.2]}}))
    write_weights(run)
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    return tmp_path / "old", tmp_path / "new"


def after(sides: tuple[Path, Path], change: Callable[[Path], None]) -> Comparison:
    """The comparison where the new side's run was changed."""
    old, new = sides
    change(new / "shop_smoke")
    return compare_runs(old, new)


def test_equal_runs_are_the_same_with_a_nan_and_other_times(sides: tuple[Path, Path]) -> None:
    found = after(sides, lambda run: write_records(run, [*RECORDS[:2], RECORDS[2] | {"images_per_s": 9.0}, RECORDS[3]]))
    assert (found.difference, found.notes, found.num_runs) == ("", [], 1)


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (
            [RECORDS[0], RECORDS[1] | {"loss": 4.83303451538086}, *RECORDS[2:]],
            "train of step 4, loss: 4.83303451538086",
        ),
        ([*RECORDS[:3], RECORDS[3] | {"top1": None}], "val of step 4, top1: None, and was 0.25"),
        ([RECORDS[0], *RECORDS[2:]], "train of step 4 is missing"),
        (RECORDS[:3], "val of step 4 is missing"),
        ([*RECORDS, RECORDS[0]], "train of step 2 (2.) is only new"),
        ([*RECORDS, {"kind": "val", "step": 8}], "val of step 8 is only new"),
        ([RECORDS[1], RECORDS[0], *RECORDS[2:]], "record 1 is train of step 4, and was train of step 2"),
    ],
)
def test_a_changed_log_is_told_with_its_record(
    sides: tuple[Path, Path], records: list[dict[str, Any]], said: str
) -> None:
    found = after(sides, lambda run: write_records(run, records))
    assert found.difference.startswith("shop_smoke: metrics.jsonl: ")
    assert said in found.difference


def test_new_fields_kinds_files_and_runs_are_notes(sides: tuple[Path, Path]) -> None:
    def change(run: Path) -> None:
        more = [RECORDS[0] | {"skipped": 0}, {"kind": "bad_step", "step": 3}, *RECORDS[1:]]
        write_records(run, more)
        (run / "summary.json").write_text(json.dumps({"recall@1": 0.125, "by_group": {"few": [0.1, 0.2]}, "mrr": 1}))
        (run / "side.json").write_text("{}")
        shutil.copytree(run, run.parent / "another")
        # Work in progress of a writer is no run.
        shutil.copytree(run, run / ".last.previous")

    found = after(sides, change)
    assert found.difference == ""
    assert set(found.notes) == {
        "only new: another",
        "only new: records of kind bad_step",
        "only new: field skipped",
        "only old: field top1",
        "only new: field mrr",
    }


def test_a_value_deep_in_a_summary_is_compared(sides: tuple[Path, Path]) -> None:
    changed = json.dumps({"by_group": {"few": [0.1, 0.3]}})
    found = after(sides, lambda run: (run / "summary.json").write_text(changed))
    assert "summary.json: by_group.few.1: 0.3, and was 0.2" in found.difference


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        # One bit: the sign of a zero.
        ({"fc.bias": torch.tensor([0.5, 0.0]).bfloat16()}, "fc.bias differs by up to 0"),
        ({"fc.bias": torch.tensor([0.5, -0.0])}, "fc.bias is torch.float32 (2,), and was torch.bfloat16 (2,)"),
        ({"fc.weight": torch.arange(6.0).reshape(3, 2)}, "fc.weight is torch.float32 (3, 2)"),
        ({"steps": torch.tensor(9)}, "steps differs by up to 1"),
        ({"more": torch.zeros(1)}, "more is only new"),
    ],
)
def test_a_changed_tensor_is_told_by_its_name(
    sides: tuple[Path, Path], changed: dict[str, torch.Tensor], said: str
) -> None:
    found = after(sides, lambda run: write_weights(run, **changed))
    assert found.difference.startswith("shop_smoke: best_model/model.safetensors: ")
    assert said in found.difference


def test_last_is_compared_too_and_a_missing_tensor_file_or_run_is_a_difference(sides: tuple[Path, Path]) -> None:
    def drop(run: Path) -> None:
        weights = load_file(run / LAST)
        del weights["steps"]
        save_file(weights, run / LAST)

    assert after(sides, drop).difference == f"shop_smoke: {LAST}: steps is missing"
    assert after(sides, lambda run: (run / LAST).unlink()).difference == f"shop_smoke: {LAST} is missing"
    assert after(sides, shutil.rmtree).difference == "shop_smoke is missing"


@pytest.mark.parametrize("name", ["metrics.jsonl", "summary.json", LAST])
def test_a_file_that_cannot_be_read_is_a_difference(sides: tuple[Path, Path], name: str) -> None:
    found = after(sides, lambda run: os.truncate(run / name, 20))
    assert f"{name}: cannot be read" in found.difference


def test_folders_without_a_run_are_never_the_same(tmp_path: Path) -> None:
    assert "no run was written" in compare_runs(tmp_path, tmp_path).difference


def test_a_recipe_that_fails_in_both_is_told_and_not_the_same(sides: tuple[Path, Path]) -> None:
    good = [Outcome(side, 0, "") for side in sides]
    bad = Outcome(sides[0], 2, "error: no such loss")
    assert verdict(*good) == (SAME, "same")
    status, said = verdict(bad, bad)
    assert status == DIFFERS
    assert said.startswith("FAILS IN BOTH")
    assert "no such loss" in said
    assert verdict(good[0], bad)[0] == verdict(bad, good[0])[0] == verdict(good[0], None)[0] == DIFFERS
    status, said = verdict(None, good[1])
    assert status == SAME
    assert "nothing to compare with" in said
    assert verdict(None, bad)[0] == DIFFERS
