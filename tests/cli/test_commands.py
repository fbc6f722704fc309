"""The command line: what it takes, and what it says to input that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shelfmark.cli import main
from shelfmark.cli.commands import COMMANDS
from shelfmark.cli.parser import parse
from shelfmark.cli.recipes import train_recipe
from shelfmark.config.shape import Shape
from shelfmark.evaluation.legacy_metrics import DEFINITIONS
from shelfmark.evaluation.post_processing import FEATURE_STEPS, LAST_STEP, VECTOR_STEPS
from shelfmark.migrate.dialects import DIALECTS
from shelfmark.recipe import Recipe
from shelfmark.retrieval.index_kinds import KINDS


def _error(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(argv) == 2
    return capsys.readouterr().err


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in COMMANDS)


def test_overrides_and_2020_flags_stand_anywhere() -> None:
    argv = ["optim.lr=0.1", "--RESUME_MODEL", "auto", "--BASE_LR", "0.5", "train.batch_size=8"]
    args = parse("train", COMMANDS["train"], argv)
    assert str(args.RESUME_MODEL) == "auto"
    assert [(item.key, item.value) for item in args.overrides] == [
        ("optim.lr", 0.5),
        ("optim.lr", 0.1),
        ("train.batch_size", 8),
    ]


def test_the_schema_is_json_that_knows_every_section(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert {"data", "model", "losses", "optim", "train", "_base_"} <= set(schema["properties"])


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


def test_a_run_takes_the_shop_where_no_config_and_no_annotations_are_named(workplace: Path) -> None:
    bare = train_recipe(parse("train", COMMANDS["train"], [])).config
    assert (bare.name, bare.data.generated, str(bare.data.val_json)) == ("shop", "shop", "dataset/shop/val.json")
    own = train_recipe(parse("train", COMMANDS["train"], ["--DATASET_TRAIN_JSON", "mine.json"])).config.data
    assert (str(own.train_json), own.generated) == ("mine.json", "")
    assert (own.val_json, own.test_json, own.test_root, own.retrieval_json) == (None, None, None, None)
    both = ["--DATASET_TRAIN_JSON", "mine.json", "--DATASET_VALID_JSON", "val.json"]
    assert str(train_recipe(parse("train", COMMANDS["train"], both)).config.data.val_json) == "val.json"


def test_a_commands_choices_are_those_of_the_part_that_takes_them() -> None:
    def of(command: str, flag: str) -> tuple[tuple[str, ...], str]:
        [found] = [one for one in COMMANDS[command].options if one.flag == flag]
        return tuple(found.settings.get("choices", ())), found.help

    views = Shape.of(Recipe).child("predict").child("views").choices
    assert ("centre", *of("test", "--tta")[0]) == tuple(views)
    assert of("index build", "--kind")[0] == ("auto", *KINDS)
    assert of("evaluate", "--legacy-metrics")[0] == tuple(DEFINITIONS)
    assert [
        step for step in (*FEATURE_STEPS, *VECTOR_STEPS, LAST_STEP) if step not in of("evaluate", "--post")[1]
    ] == []
    assert COMMANDS["migrate"].options[1].settings["metavar"].split("|") == list(DIALECTS)


def test_a_misspelt_option_is_told_before_the_lack_of_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "epochs=3"]) == 2
    assert "Did you mean train.num_epochs?" in capsys.readouterr().err
    assert main(["train", "train.num_epochs=3"]) == 2
    assert "there is nothing to train on" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--images", "a", "b"], ["--images=a", "b"], ["--images", "a", "data.root=x", "b"]])
def test_a_second_value_of_an_option_is_told_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    assert main(["test", *words]) == 2
    said = capsys.readouterr().err
    assert "'b' is neither an option of `shelfmark test` nor key=value. --images takes one DIR, which is 'a'" in said
    assert main(["test", "--json", "b"]) == 2
    assert "takes one" not in capsys.readouterr().err


def test_a_photograph_that_looks_like_an_option_is_told_how_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-x.jpg").touch()
    assert main(["test", "-x.jpg"]) == 2
    assert "The file of this name is written ./-x.jpg." in capsys.readouterr().err
