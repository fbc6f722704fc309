"""`shelfmark migrate`: what it prints is a command line of ours, and runs."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import published_commands as published
import pytest

from shelfmark.cli import main
from shelfmark.cli.commands import COMMANDS, _train_recipe
from shelfmark.cli.parser import parse
from shelfmark.config.load import load
from shelfmark.migrate import FASTRETRI
from shelfmark.recipe import Recipe

CHECKOUT = Path(__file__).parents[2]


def migrated(words: list[str], capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The words of each printed command, with the names filled in as a shell does."""
    assert main(["migrate", *words]) == 0
    return [[os.path.expandvars(word) for word in shlex.split(line)] for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkout, as the working folder: nothing is written. `$dir` is what PNPloss's line names."""
    monkeypatch.setenv("dir", "dataset")
    monkeypatch.chdir(CHECKOUT)
    return CHECKOUT


@pytest.mark.parametrize(("command", "recipe"), published.TRAINING.items())
def test_a_published_line_becomes_its_recipe_and_hardly_a_word_more(
    place: Path, capsys: pytest.CaptureFixture[str], command: str, recipe: str
) -> None:
    [words] = migrated([command], capsys)
    expected = ["shelfmark", "train", "--config", f"configs/retrieval/{recipe}.yaml"]
    more = {"pnp_sop": ["data.root=dataset/online_products"]}
    processes = ["--num-gpus", "4"] if recipe.startswith("fastretri") else []
    assert words == [*expected, *processes, *more.get(recipe, [])]
    config = _train_recipe(parse("train", COMMANDS["train"], words[2:])).config
    file = place / "configs" / "retrieval" / f"{recipe}.yaml"
    assert config.model_dump(exclude={"data": {"root"}}) == load(Recipe, file).config.model_dump(
        exclude={"data": {"root"}}
    )


@pytest.mark.parametrize(("command", "tests"), published.EVALUATION.items())
def test_a_published_evaluation_becomes_one_command_a_test(
    place: Path, capsys: pytest.CaptureFixture[str], command: str, tests: list[str]
) -> None:
    lines = migrated([command], capsys)
    assert [words[:2] for words in lines] == [["shelfmark", "evaluate"]] * len(tests)
    for words, test in zip(lines, tests):
        args = parse("evaluate", COMMANDS["evaluate"], words[2:])
        assert str(args.RESUME_MODEL) == shlex.split(command)[-1]
        values = {one.key: one.value for one in args.overrides}
        assert values["data.retrieval_json"] == test
        # The batch is the one thing that the command says besides.
        assert values.keys() - {"data.retrieval_json"} == ({"eval.batch_size"} if "--bs" in command else set())


# The recipes run small in test_smoke.py, on their own backbone; here on a small one of the same kind.
@pytest.mark.parametrize("recipe", ["pnp_sop", "smoothap_inat", "fastretri_cub"])
def test_what_a_published_line_becomes_runs(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], recipe: str
) -> None:
    # The shop stands where PNPloss's line has its own data.
    Path("dataset/online_products").symlink_to(Path("dataset/shop").resolve())
    monkeypatch.setenv("dir", "dataset")
    [command] = [line for line, name in published.TRAINING.items() if name == recipe]
    [words] = migrated([command], capsys)
    if "--num-gpus" in words:
        # Four processes would share this machine's cores; test_scaled_stages.py and others train in several.
        del words[words.index("--num-gpus") : words.index("--num-gpus") + 2]
    small = ["model.backbone=resnet14t", "data.input_size_px=32"]
    assert main([*words[1:], "--smoke", *small]) == 0
    summary = json.loads((workplace / "log" / f"retrieval_{recipe}_smoke" / "summary.json").read_text())
    assert 0 <= summary["recall@1"] <= 1


def test_the_command_alone_is_on_standard_output(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "python main.py --loss PNP --margin 0.5"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("shelfmark train --config configs/retrieval/pnp_sop.yaml ")
    assert shown.out.count("\n") == 1
    assert "note: --margin 0.5: without effect in the original: parsed and never used.\n" in shown.err


def test_the_old_words_may_stand_behind_two_dashes(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = "python main.py --bs 384 --fc_lr_mul 1"
    [words] = migrated(["--dialect", "smoothap", "--", *line.split()], capsys)
    assert words == ["shelfmark", "train", "--config", "configs/retrieval/smoothap_vehicleid.yaml"]


def test_a_value_that_our_tree_refuses_is_told_by_the_old_flag(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "python main.py --loss PNP --bs 0"]) == 2
    assert "--bs 0: train.batch_size=0 must be a whole number above 0." in capsys.readouterr().err


def test_a_run_that_goes_on_is_named_by_its_folder(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [words] = migrated(["train_net.py --config-file cub.yml --resume"], capsys)
    assert words[-2:] == ["--RESUME_MODEL", "log/retrieval_fastretri_cub/last"]
    [words] = migrated(["train_net.py --config-file cub.yml --resume OUTPUT_DIR logs/mine"], capsys)
    assert words[4:] == ["--RESUME_MODEL", "logs/mine/last", "output.log_root=logs", "name=mine"]


def test_an_evaluation_says_nothing_of_what_stands_in_the_checkpoint(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "train_net.py --config-file cub.yml --eval-only MODEL.WEIGHTS x SOLVER.BASE_LR 0.5 INPUT.SIZE_TEST [0]"
    [words] = migrated([line], capsys)
    assert words[2:] == [
        *["--RESUME_MODEL", "x", "data.retrieval_json=dataset/cub/test.json"],
        "data.eval_resize_px=[]",
    ]


def test_the_page_shows_what_the_command_prints(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (CHECKOUT / "docs" / "migrate.md").read_text(encoding="utf-8")
    pairs = re.findall(r"```sh\n# [^\n]*\n(.*?)\n# Shelfmark\n(.*?)\n```", page, flags=re.DOTALL)
    assert len(pairs) == 13
    for old, ours in pairs:
        assert main(["migrate", old]) == 0
        printed = capsys.readouterr().out.splitlines()
        assert [shlex.split(line) for line in printed] == [
            shlex.split(line) for line in ours.replace("\\\n", "").splitlines()
        ]


def test_the_page_lists_every_key_of_fastretri_that_is_translated() -> None:
    page = (CHECKOUT / "docs" / "migrate.md").read_text(encoding="utf-8")
    named = {
        first + rest
        for first, ends in re.findall(r"`([A-Z_.]+?)(\{[A-Z_., ]+\})?`", page)
        for rest in (ends.strip("{}").split(", ") if ends else [""])
    }
    assert FASTRETRI.keys() <= named
