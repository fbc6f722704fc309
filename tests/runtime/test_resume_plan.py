"""Fresh, resumed or finetuned: decided by the content of the training annotations."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shelfmark.core import dist
from shelfmark.core.errors import UserError
from shelfmark.engine.checkpoint import Checkpoint
from shelfmark.recipe import Recipe
from shelfmark.runtime import resume_plan as start_module
from shelfmark.runtime.resume_plan import RunOrigin, RunStart, decide_start, find_checkpoint, run_folder


def _checkpoint(folder: Path, sha256: str = "same", has_state: bool = True) -> Checkpoint:
    return Checkpoint(folder, {"train_sha256": sha256, "step": 20, "epoch": 1, "has_state": has_state})


def _decide(tmp_path: Path, checkpoint: Checkpoint | None, mode: Any = None, aside: bool = False) -> RunStart:
    recipe = Recipe(name="shop", output={"log_root": tmp_path})
    table: Any = SimpleNamespace(sha256="same")
    return decide_start(recipe, table, RunOrigin(checkpoint), mode, aside)


def _opened(start: RunStart, log_root: Path) -> Path:
    with run_folder(start, log_root) as folder:
        # A run writes at once; a folder in which nothing stands goes again.
        (folder / "environment.json").write_text("{}")
        return folder


def test_without_a_checkpoint_a_run_is_fresh(tmp_path: Path) -> None:
    start = _decide(tmp_path, None)
    assert (start.kind, start.name, start.folder) == ("fresh", "shop", None)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_exists_gets_a_number(tmp_path: Path) -> None:
    folders = [_opened(_decide(tmp_path, None), tmp_path) for _ in range(3)]
    assert [folder.name for folder in folders] == ["shop", "shop_2", "shop_3"]
    assert all(folder.is_dir() for folder in folders)


def test_last_goes_on_in_its_own_folder(tmp_path: Path) -> None:
    start = _decide(tmp_path, _checkpoint(tmp_path / "shop" / "last"))
    assert (start.kind, start.folder) == ("resume", tmp_path / "shop")
    assert start.resumed is start.checkpoint


def test_an_older_checkpoint_goes_on_in_a_new_folder(tmp_path: Path) -> None:
    (tmp_path / "shop" / "best_model").mkdir(parents=True)
    start = _decide(tmp_path, _checkpoint(tmp_path / "shop" / "best_model"))
    assert (start.kind, _opened(start, tmp_path).name) == ("resume", "shop_2")


def test_other_annotations_mean_finetuning_in_a_new_folder(tmp_path: Path) -> None:
    start = _decide(tmp_path, _checkpoint(tmp_path / "shop" / "last", sha256="other"))
    assert (start.kind, start.name, start.folder) == ("finetune", "shop_finetune", None)
    assert start.resumed is None
    assert "annotations are different" in start.reason


@pytest.mark.parametrize(("mode", "sha256"), [("finetune", "same"), ("resume", "other")])
def test_a_mode_that_was_asked_for_decides(tmp_path: Path, mode: str, sha256: str) -> None:
    start = _decide(tmp_path, _checkpoint(tmp_path / "shop" / "last", sha256), mode)
    assert start.kind == mode
    assert f"--mode {mode}" in start.reason


def test_a_recalibrated_model_is_never_resumed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no optimizer to resume; use --mode finetune"):
        _decide(tmp_path, _checkpoint(tmp_path / "shop" / "best_model", has_state=False))


@pytest.mark.parametrize("name", ["last", ".last.previous"])
def test_the_generation_before_last_is_the_head_of_its_run_too(tmp_path: Path, name: str) -> None:
    assert _decide(tmp_path, _checkpoint(tmp_path / "shop" / name)).folder == tmp_path / "shop"


def test_a_small_run_begins_with_the_weights_in_a_folder_of_its_own(tmp_path: Path) -> None:
    start = _decide(tmp_path, _checkpoint(tmp_path / "shop" / "last"), aside=True)
    assert (start.kind, start.folder, start.tries_resume) == ("finetune", None, True)


def test_two_runs_that_choose_a_name_at_the_same_instant_get_two_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = start_module.unused_path

    def taken_meanwhile(path: Path) -> Path:
        chosen = free(path)
        if chosen.name == "shop":
            chosen.mkdir()
        return chosen

    monkeypatch.setattr(start_module, "unused_path", taken_meanwhile)
    assert _opened(_decide(tmp_path, None), tmp_path).name == "shop_2"


def test_a_launch_that_is_started_again_goes_on_with_its_own_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, launch in (("shop", "another"), ("shop_2", "this")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "environment.json").write_text(f'{{"launch": "{launch}"}}')
    recipe = Recipe(name="shop", output={"log_root": tmp_path})
    monkeypatch.setattr(dist, "launch_id", lambda: "this")
    monkeypatch.setattr(dist, "restart_count", lambda: 0)
    assert find_checkpoint(recipe, None).folder is None
    monkeypatch.setattr(dist, "restart_count", lambda: 1)
    assert find_checkpoint(recipe, None) == RunOrigin(None, tmp_path / "shop_2")


def test_a_second_run_in_the_same_folder_is_told_who_trains_there(tmp_path: Path) -> None:
    start = RunStart("fresh", "", "shop", folder=tmp_path / "shop")
    with run_folder(start, tmp_path), pytest.raises(UserError, match=rf"being changed by process {os.getpid()}"):
        _opened(start, tmp_path)
    assert _opened(start, tmp_path) == tmp_path / "shop"


@pytest.mark.parametrize("names_its_folder", [False, True])
@pytest.mark.parametrize(
    ("written", "error", "stays"),
    [
        ((), UserError("a picture is broken"), False),
        (("bad_images.csv",), UserError("too many pictures are broken"), True),
        (("last/manifest.json",), UserError("a picture is broken"), True),
        (("frozen_features/train/features.npy",), UserError("a picture is broken"), True),
        ((), ValueError("our own mistake"), True),
    ],
)
def test_a_run_that_is_refused_before_it_has_a_result_takes_its_folder_back(
    tmp_path: Path, written: tuple[str, ...], error: Exception, stays: bool, names_its_folder: bool
) -> None:
    folder = tmp_path / "log" / "shop"
    start = RunStart("fresh", "", "shop", folder=folder if names_its_folder else None)

    def run() -> None:
        with run_folder(start, tmp_path / "log"):
            write()
            raise error

    def write() -> None:
        for name in ("config.yaml", "environment.json", "tensorboard/events.1", *written):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("{}")
        (folder / "metrics.jsonl").touch()

    with pytest.raises(type(error)):
        run()
    assert (folder / "config.yaml").exists() == folder.exists() == stays
    assert (tmp_path / "log").exists() == stays


def test_a_refused_run_with_metrics_or_in_a_folder_of_before_stays(tmp_path: Path) -> None:
    folder = tmp_path / "shop"

    def run(text: str, start: RunStart) -> None:
        with run_folder(start, tmp_path):
            (folder / "metrics.jsonl").write_text(text)
            raise UserError("a picture is broken")

    for text, start in (
        ('{"kind": "train"}\n', RunStart("fresh", "", "shop")),
        ("", RunStart("fresh", "", "shop", folder=folder)),
    ):
        with pytest.raises(UserError):
            run(text, start)
        assert (folder / "metrics.jsonl").read_text() == text
