"""The command line: what it takes, and what it says to input that is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shelfmark.cli import main
from shelfmark.cli.commands import COMMANDS
from shelfmark.cli.parser import parse


def _error(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(argv) == 2
    return capsys.readouterr().err


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in COMMANDS)


def test_help_does_not_wait_for_torch_and_timm(checkout: Path) -> None:
    code = "import sys, shelfmark.cli as cli; cli.main(['--help']); print({'torch', 'timm'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=checkout / "lib")
    assert done.stdout.splitlines()[-1] == "set()", done.stderr


def test_a_mistyped_command_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'tau-norm'?" in _error(["tau_norm"], capsys)


@pytest.mark.parametrize("door", ["test.py", "tau_norm.py"])
def test_without_a_checkpoint_the_doors_refuse_to_guess(door: str, checkout: Path) -> None:
    done = subprocess.run([sys.executable, str(checkout / door)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "--RESUME_MODEL is missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_overrides_and_2020_flags_stand_anywhere() -> None:
    argv = ["optim.lr=0.1", "--RESUME_MODEL", "auto", "--BASE_LR", "0.5", "train.batch_size=8"]
    args = parse("train", COMMANDS["train"], argv)
    assert str(args.RESUME_MODEL) == "auto"
    assert [(item.key, item.value) for item in args.overrides] == [
        ("optim.lr", 0.5),
        ("optim.lr", 0.1),
        ("train.batch_size", 8),
    ]


def test_an_unknown_flag_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean --BASE_LR?" in _error(["train", "--base_lr", "0.1"], capsys)
    assert "Did you mean --dry-run?" in _error(["train", "--dryrun"], capsys)


def test_a_bad_option_names_the_flag_the_value_and_the_choices(capsys: pytest.CaptureFixture[str]) -> None:
    text = _error(["config", "sampling.type=class_balance"], capsys)
    assert "sampling.type='class_balance' is not one of: instance, class_balanced" in text


def test_an_unknown_key_of_a_file_names_file_line_and_the_right_spelling(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text("optim:\n  learning_rate: 0.1\n")
    text = _error(["config", "--config", str(tmp_path / "run.yaml")], capsys)
    assert "run.yaml:2" in text
    assert "optim.learning_rate" in text
    assert "optim.lr" in text


def test_the_schema_is_json_that_knows_every_section(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert {"data", "model", "losses", "optim", "train", "_base_"} <= set(schema["properties"])


def test_bare_main_runs_the_shop(workplace: Path) -> None:
    args = parse("train", COMMANDS["train"], [])
    from shelfmark.cli.recipes import train_recipe

    assert train_recipe(args).config.name == "shop"


def test_gpu_ids_and_num_gpus_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert "give one of them" in _error(["train", "--gpu_ids", "0,1", "--num-gpus", "2"], capsys)


def test_missing_data_is_explained_and_leaves_no_run_folder(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = _error(["train", "--config", str(checkout / "configs" / "grocery.yaml")], capsys)
    assert "dataset/grocery" in text
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_annotation_is_refused_with_the_record_and_leaves_no_run_folder(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(Path("dataset/shop/train.json").read_text())
    document["annotations"][7]["category_id"] = 120
    Path("broken.json").write_text(json.dumps(document))
    text = _error(["train", "--DATASET_TRAIN_JSON", "broken.json"], capsys)
    assert "7" in text
    assert "120" in text
    assert not (workplace / "log" / "shop").exists()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["train.batch_size=100000"], "train.batch_size=100000"),
        (["model.backbone=resnet5O"], "resnet50"),
        (["model.weights=nowhere.pth"], "nowhere.pth"),
        (["sampling.type=pk", "train.batch_size=30"], "sampling.images_per_class"),
        (["data.num_classes=7"], "data.num_classes=7"),
        (["model.freeze=[backbon]"], "backbone"),
        (["optim.schedule.warmup_epochs=1000"], "warmup_epochs"),
    ],
)
def test_options_that_do_not_fit_leave_no_run_folder(
    workplace: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], expected: str
) -> None:
    assert expected in _error(["train", *overrides], capsys)
    assert not (workplace / "log" / "shop").exists()


def test_own_annotations_without_a_config_do_not_ask_for_the_shop(
    tmp_path: Path, shop_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = ["--DATASET_TRAIN_JSON", f"{shop_root}/train.json", "--DATASET_VALID_JSON", f"{shop_root}/val.json"]
    small = ["--BACKBONE", "test_resnet", "--INPUT_SIZE", "32", "--MAX_EPOCH", "2", "--SAMPLER_TYPE", "class_balance"]
    short = ["train.steps_per_epoch=2", "--DECAY_STEP", "1,2", "--DATASET_ROOT", str(shop_root)]
    assert main(["train", *own, *small, *short, "--BATCH_SIZE", "16", "--NUM_WORKERS", "0"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log"]
