"""`scripts/*.sh`: Hi-LANDER's eight commands, each run by a shell, small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shelfmark.cli import main
from shelfmark.cli.commands import COMMANDS
from shelfmark.cli.parser import parse
from shelfmark.config.load import load
from shelfmark.core.embeddings import read_embeddings
from shelfmark.recipe import Recipe

SCRIPTS = Path(__file__).parents[2] / "scripts"
TRAINING = {
    "train_deepglint": "deepglint",
    "train_inat": "inat",
    "train_inat_resampled_1_in_6_per_class": "inat_1_in_6",
}
TESTS = {
    "test_deepglint_hannah": "hannah_test_by_deepglint",
    "test_deepglint_imdb": "imdb_test_by_deepglint",
    "test_deepglint_imdb_sampled_as_deepglint": "imdb_test_sampled_by_deepglint",
    "test_inat": "inat_test_by_inat",
    "test_inat_train_on_resampled_1_in_6_per_class": "inat_test_by_inat_1_in_6",
}
# In place of `shelfmark`, so that eight runs do not wait eight times for torch: it notes down the words that it gets.
NOTES_DOWN = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["SHELFMARK_WORDS"], "w") as file:
    json.dump(sys.argv[1:], file)
"""


def words_of(script: str, folder: Path, *more: str) -> list[str]:
    """The words that `shelfmark` gets from a script that a shell runs in `folder`."""
    stand_in = folder / "bin" / "shelfmark"
    stand_in.parent.mkdir(exist_ok=True)
    stand_in.write_text(NOTES_DOWN)
    stand_in.chmod(0o755)
    environment = {**os.environ, "PATH": f"{stand_in.parent}:{os.environ['PATH']}", "SHELFMARK_WORDS": "words.json"}
    subprocess.run([SCRIPTS / f"{script}.sh", *more], cwd=folder, env=environment, check=True)
    words: list[str] = json.loads((folder / "words.json").read_text())
    return words


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the three scripts that train have run small."""
    folder = tmp_path_factory.mktemp("hilander")
    for script in TRAINING:
        words = words_of(script, folder, "--smoke")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            assert main(words) == 0
    return folder


def test_there_are_no_other_scripts() -> None:
    of_clusters = {file.stem for file in SCRIPTS.iterdir() if "hilander" in file.read_text()}
    assert of_clusters == {*TRAINING, *TESTS}


@pytest.mark.parametrize("script", TRAINING)
def test_a_training_script_leaves_a_network(trained: Path, script: str) -> None:
    folder = trained / "log" / "hilander" / f"{TRAINING[script]}_smoke"
    options = json.loads((folder / "clusterer.json").read_text())
    assert options["name"] == "lander"
    assert (folder / "lander.safetensors").stat().st_size > 0


@pytest.mark.parametrize("script", TESTS)
def test_a_testing_script_scores_the_clusters_of_that_network(
    trained: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    words = words_of(script, trained, "--smoke")
    monkeypatch.chdir(trained)
    assert main(words) == 0
    scores = json.loads(Path("log", "hilander", f"{TESTS[script]}_smoke", "scores.json").read_text())
    assert scores["all"]["images"] == len(read_embeddings(Path("log/cluster_smoke/new")))
    assert 0 <= scores["all"]["nmi"] <= 1


def test_what_stands_behind_a_script_is_the_last_word(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = words_of("test_inat", trained, "--smoke", "--out", "log/elsewhere")
    monkeypatch.chdir(trained)
    assert main(words) == 0
    assert Path("log/elsewhere_smoke/clusters.npz").is_file()


@pytest.mark.parametrize("script", [*TRAINING, *TESTS])
def test_the_values_are_the_published_ones(tmp_path: Path, script: str) -> None:
    words = words_of(script, tmp_path)
    name = " ".join(words[:2])
    args = parse(name, COMMANDS[name], words[2:])
    assert args.embeddings.parts[:2] == ("dataset", "hilander")
    options = load(Recipe, None, args.overrides).config.discovery.clusterer
    network, is_faces = options.lander, "deepglint" in script
    assert options.k == 10
    if script in TRAINING:
        assert (name, options.name) == ("cluster fit", "lander")
        assert (network.ks, network.levels) == ((10, 5, 3), (2, 3, 4))
        assert (network.hidden, network.num_layers, network.balance, network.focal) == (512, 1, True, False)
        assert (network.layer, network.cluster_features) == (("gcn", True) if is_faces else ("gat", False))
        assert (network.optimizer, network.lr, network.weight_decay) == ("sgd", 0.01, 1e-5)
        assert (network.epochs, network.batch_size) == (250, 4096)
    else:
        assert name == "cluster run"
        assert (network.tau, network.max_levels, network.early_stop) == (0.8 if is_faces else 0.1, 10, True)
