"""`shelfmark migrate`: what it prints is a command line of ours, and runs."""

from __future__ import annotations

import json
import os
import pickle
import re
import shlex
from pathlib import Path

import numpy as np
import published_commands as published
import pytest

from shelfmark.cli import main
from shelfmark.cli.commands import COMMANDS
from shelfmark.cli.parser import parse
from shelfmark.config.load import load
from shelfmark.migrate.notes import UNUSED
from shelfmark.recipe import Recipe

CHECKOUT = Path(__file__).parents[2]


def migrated(words: list[str], capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The words of each printed command, with the names filled in as a shell does."""
    assert main(["migrate", *words]) == 0
    return [[os.path.expandvars(word) for word in shlex.split(line)] for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkout, as the working folder: nothing is written. `$dir` is what PNPloss's line names.

    Commands may name checkpoints and annotations, of which none is here.
    """
    monkeypatch.setenv("dir", "dataset")
    monkeypatch.setattr("shelfmark.engine.checkpoint_folder.checkpoint_folder", lambda path: path)
    monkeypatch.setattr("shelfmark.cli.existing._existing", lambda path, *_, **__: path)
    monkeypatch.chdir(CHECKOUT)
    return CHECKOUT


@pytest.mark.parametrize(("command", "recipe"), published.TRAINING.items())
def test_a_published_line_becomes_its_recipe_and_hardly_a_word_more(
    place: Path, capsys: pytest.CaptureFixture[str], command: str, recipe: str
) -> None:
    more = {"pnp": ["data.root=dataset/online_products"], "fastretri": ["--num-gpus", "4"]}
    expected = ["shelfmark", "train", "--config", f"configs/retrieval/{recipe}.yaml"]
    assert migrated([command], capsys) == [[*expected, *more.get(recipe.partition("_")[0], [])]]


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


@pytest.mark.parametrize(
    ("command", "ours"),
    [
        (published.PNP, "train"),
        ("python main.py --dataset Inaturalist --fc_lr_mul 1 --bs 384 --class_num 948 --loss ce", "discover"),
        (
            "python main.py --dataset Inaturalist --class_num 948 --arch vit_small --pretrained_weights a.pth",
            "discover",
        ),
        ("python finetune_1head.py --bs 384 --embed_dim 128 --iter 3 --cluster_path a.pkl", "discover"),
        ("python get_features.py --bs 64", "embed"),
        ("python evaluate_model.py --dataset Inaturalist --class_num 948", "evaluate"),
        ("python train_subg.py --data_path a.pkl", "cluster fit"),
        ("python test_subg.py --data_path a.pkl", "cluster run"),
    ],
)
def test_our_parser_and_our_tree_take_the_command(
    place: Path, capsys: pytest.CaptureFixture[str], command: str, ours: str
) -> None:
    [words] = migrated([command], capsys)
    length = 1 + len(ours.split())
    assert words[:length] == ["shelfmark", *ours.split()]
    args = parse(ours, COMMANDS[ours], words[length:])
    load(Recipe, getattr(args, "config", None), args.overrides)


def test_a_pickle_s_way_through_hi_lander_s_two_scripts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "configs").symlink_to(CHECKOUT / "configs")
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(12), 6)
    features = generator.standard_normal((12, 16))[labels] + 0.1 * generator.standard_normal((72, 16))
    masks = np.where(labels < 6, 0, 2)
    paths = {f"train_val2018/a/{row}.jpg": row for row in range(72)}
    for name, kept in (("t_train", labels < 6), ("all_train", labels >= 0)):
        rows = {path: place for place, path in enumerate(path for path, row in paths.items() if kept[row])}
        content = [rows, features[kept].astype(np.float32), labels[kept], labels[kept], masks[kept]]
        Path(f"{name}.pkl").write_bytes(pickle.dumps(content))
    graph = "--hidden 16 --gat --balance"
    training = f"--knn_k 4,3 --levels 1,1 --epochs 2 --batch_size 32 --lr 0.01 {graph}"
    clustering = f"--knn_k 4 --level 10 --tau 0.1 --early_stop --mode selectbydensity --thresh 0.1 {graph}"
    for line in (
        f"python train_subg_inat.py --data_path t_train.pkl {training}",
        f"python test_subg_inat.py --data_path all_train.pkl {clustering}",
    ):
        assert main(["migrate", line]) == 0
        shown = capsys.readouterr()
        # The note proposes what makes embeddings of the pickle.
        for command in (shown.err.split("once: shelfmark ")[1], shown.out.removeprefix("shelfmark ")):
            assert main(shlex.split(command)) == 0
        capsys.readouterr()
    scores = json.loads(Path("data/features/scores.json").read_text())
    # The six classes without a label alone, and of them the dense ones.
    assert scores["all"]["images"] == 36
    assert scores["dense"]["images"] <= 36
    with np.load("data/features/clusters.npz") as arrays:
        assert arrays["rows"].tolist() == list(range(36, 72))


def test_the_command_alone_is_on_standard_output(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "python main.py --loss PNP --margin 0.5"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("shelfmark train --config configs/retrieval/pnp_sop.yaml ")
    assert shown.out.count("\n") == 1
    assert f"note: --margin 0.5: {UNUSED}\n" in shown.err


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


def test_every_command_of_the_page_can_be_pasted(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (CHECKOUT / "docs" / "migrate.md").read_text(encoding="utf-8")
    lines = re.findall(r"^    (shelfmark .*)$", page, flags=re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        name, *words = shlex.split(line)[1:]
        assert (name, main([name, *words])) == ("migrate", 0)
        printed = shlex.split(capsys.readouterr().out)
        assert printed[:2] == ["shelfmark", "train"]
        parse("train", COMMANDS["train"], printed[2:])
