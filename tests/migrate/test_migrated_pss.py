"""What the command lines of PSS and Hi-LANDER become is a command line of ours, and that of the pickles runs."""

from __future__ import annotations

import json
import pickle
import shlex
from pathlib import Path

import numpy as np
import pytest

from shelfmark.cli import main
from shelfmark.cli.commands import COMMANDS
from shelfmark.cli.parser import parse
from shelfmark.config.load import load
from shelfmark.recipe import Recipe

CHECKOUT = Path(__file__).parents[2]
GRAPH = "--hidden 16 --gat --balance"


def migrated(command: str, capsys: pytest.CaptureFixture[str]) -> tuple[list[str], list[str]]:
    """The words behind `shelfmark`, and those of each command that the notes propose."""
    capsys.readouterr()
    assert main(["migrate", command]) == 0
    shown = capsys.readouterr()
    [line] = shown.out.splitlines()
    proposed = [note.split("once: shelfmark ")[1] for note in shown.err.splitlines() if "once: shelfmark" in note]
    assert shlex.split(line)[0] == "shelfmark"
    return shlex.split(line)[1:], [word for one in proposed for word in shlex.split(one)]


@pytest.mark.parametrize(
    ("command", "ours"),
    [
        ("python main.py --dataset Inaturalist --fc_lr_mul 1 --bs 384 --class_num 948 --loss ce", "discover"),
        (
            "python main.py --dataset Inaturalist --class_num 948 --arch vit_small --pretrained_weights s.pth",
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
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, ours: str
) -> None:
    monkeypatch.chdir(CHECKOUT)
    words, _ = migrated(command, capsys)
    length = len(ours.split())
    assert words[:length] == ours.split()
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
    training = f"--knn_k 4,3 --levels 1,1 --epochs 2 --batch_size 32 --lr 0.01 {GRAPH}"
    fit, prepared = migrated(f"python train_subg_inat.py --data_path t_train.pkl {training}", capsys)
    assert main(prepared) == 0
    assert main(fit) == 0
    clustering = f"--knn_k 4 --level 10 --tau 0.1 --early_stop --mode selectbydensity --thresh 0.1 {GRAPH}"
    run, prepared = migrated(f"python test_subg_inat.py --data_path all_train.pkl {clustering}", capsys)
    assert main(prepared) == 0
    assert main(run) == 0
    scores = json.loads(Path("data/features/scores.json").read_text())
    # The six classes without a label alone, and of them the dense ones.
    assert scores["all"]["images"] == 36
    assert scores["dense"]["images"] <= 36
    with np.load("data/features/clusters.npz") as arrays:
        assert arrays["rows"].tolist() == list(range(36, 72))
