"""`shelfmark train --check`: its exit status, and that it leaves nothing but what it names."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from untrained_models import make_place, options

from shelfmark.cli import main


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_place(tmp_path)
    return tmp_path


def checked(place: Path, capsys: pytest.CaptureFixture[str], check: str, *more: str) -> tuple[int, dict]:
    words = ["train", "--check", check, *options(place), "train.batch_size=6", *more, "--json"]
    capsys.readouterr()
    status = main(words)
    return status, json.loads(capsys.readouterr().out)


def files(place: Path) -> set[Path]:
    return {path for path in place.rglob("*") if path.is_file()}


def test_one_batch_is_learned_or_the_exit_status_says_not_and_no_file_is_left(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(place)
    status, found = checked(place, capsys, "overfit", "optim.lr=0.05", "augment.mixup=0.4", "train.accumulate_steps=2")
    assert (status, found["passed"], found["findings"]) == (0, True, [])
    assert found["num_images"] == 6
    assert found["right"] == [{"head": "classifier", "share": 1.0}]
    # Later stages and stored features do not count.
    frozen = ["model.freeze=[backbone]", "train.num_epochs=2", "train.stages=[{from_epoch: 1, lr: 0.1}]"]
    cached = ["train.cache_features.views=1", "optim.lr=1e-7"]
    status, found = checked(place, capsys, "overfit", *frozen, *cached)
    assert (status, found["passed"]) == (3, False)
    assert any("weights learn, the others are frozen" in told for told in found["findings"])
    assert files(place) == before


def test_the_rate_test_writes_its_table_and_plot_alone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(place)
    status, found = checked(place, capsys, "rate", "name=mine", "optim.schedule.warmup_epochs=3")
    assert status == 0
    assert found["option"] == f"optim.lr={float(found['option'].partition('=')[2]):g}"
    assert files(place) - before == {place / "log/mine_rate.csv", place / "log/mine_rate.png"}
    rows = list(csv.DictReader((place / "log/mine_rate.csv").open()))
    assert len(rows) == found["steps"]
    assert float(rows[0]["rate"]) == 1e-6


def test_two_trials_at_once_are_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--check", "rate", "--dry-run"]) == 2
    assert "--check rate and --dry-run are two trials" in capsys.readouterr().err
    assert main(["train", "--check", "rate", "--images", "pictures"]) == 2
    assert "leave out --check rate" in capsys.readouterr().err


def test_a_tracker_without_its_package_is_refused_before_the_run_has_a_folder(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["train", *options(place), "output.trackers=[mlflow]", "name=mine"]) == 2
    assert "output.trackers names mlflow, and the package mlflow-skinny is not installed" in capsys.readouterr().err
    assert not (place / "log/mine").exists()
