"""`shelfmark cluster fit` and `cluster run`, on embeddings whose clusters are known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from shelfmark.cli import main
from shelfmark.core.contracts import Embeddings
from shelfmark.core.embeddings import read_embeddings, write_embeddings
from shelfmark.core.strings import Strings
from shelfmark.discovery.hierarchy import cluster
from shelfmark.discovery.lander_files import load_lander

NUM_CLASSES, SIZE = 6, 8


def write(folder: Path, labels: np.ndarray, seed: int = 0, first: int = 0, more: np.ndarray | float = 0.0) -> Path:
    """Classes so far apart that any clusterer finds them, though all cosines are positive. Rows count from 100.

    more: (N, 16), added to the features.
    """
    generator = np.random.default_rng(seed)
    centres = 0.2 + np.eye(16, dtype=np.float32)[first:]
    features = centres[np.abs(labels)] + 0.05 * generator.standard_normal((len(labels), 16)) + more
    names = Strings.of(str(row) for row in range(len(labels)))
    embeddings = Embeddings(features.astype(np.float32), labels, names, names, {}, np.arange(len(labels)) + 100)
    write_embeddings(folder, embeddings)
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`labelled` and `new`, of classes that are not the labelled ones."""
    monkeypatch.chdir(tmp_path)
    labels = np.repeat(np.arange(NUM_CLASSES), SIZE)
    write(tmp_path / "labelled", labels)
    write(tmp_path / "new", labels, seed=1, first=NUM_CLASSES)
    return tmp_path


def scores(out: str = "out") -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = json.loads(Path(out, "scores.json").read_text())
    return found


def together(labels: np.ndarray) -> np.ndarray:
    """(N, N) whether two images are in one cluster, however these are numbered."""
    return labels[:, None] == labels


def fit(*options: str) -> int:
    return main(["cluster", "fit", "--embeddings", "labelled", "--out", "fitted", *options])


def run(*options: str) -> int:
    return main(["cluster", "run", "--embeddings", "new", "--clusterer", "fitted", "--out", "out", *options])


@pytest.mark.parametrize("name", ["components", "dbscan", "kmeans", "auto"])
def test_a_clusterer_that_learned_from_some_classes_finds_others(place: Path, name: str) -> None:
    # Four neighbours of an image are of other classes.
    k = "discovery.clusterer.k=12"
    assert fit(f"discovery.clusterer.name={name}", k) == 0
    assert run(k) == 0
    found = scores()["all"]
    assert (found["images"], found["clusters"]) == (NUM_CLASSES * SIZE, NUM_CLASSES)
    assert (found["pairwise_f"], found["bcubed_f"], found["nmi"]) == (1, 1, pytest.approx(1))
    with np.load("out/clusters.npz") as arrays:
        assert arrays["rows"].tolist() == list(range(100, 100 + NUM_CLASSES * SIZE))
        assert arrays["clusters"].tolist() == np.repeat(np.arange(NUM_CLASSES), SIZE).tolist()
        assert arrays["density"].dtype == np.float32


def test_a_whitening_learned_from_some_classes_lets_others_be_told_apart_in_spite_of_what_varies_in_all(
    place: Path,
) -> None:
    for folder, first, seed in (("labelled", 0, 2), ("new", NUM_CLASSES, 3)):
        labels = np.repeat(np.arange(NUM_CLASSES), SIZE)
        light = np.random.default_rng(seed).standard_normal((len(labels), 1)) * (np.arange(16) == 15)
        write(place / folder, labels, first=first, more=light)
    words = ["discovery.clusterer.name=kmeans", f"discovery.clusterer.num_clusters={NUM_CLASSES}"]
    assert fit(*words) == 0
    assert run() == 0
    assert scores()["all"]["pairwise_f"] < 0.8
    shutil.rmtree("fitted")
    assert fit(*words, "discovery.clusterer.whiten=true") == 0
    assert run() == 0
    assert scores()["all"]["pairwise_f"] == 1


def test_a_network_keeps_its_weights_and_takes_how_its_levels_are_built_from_the_command(place: Path) -> None:
    network = "discovery.clusterer.lander"
    small = [f"{network}.{option}" for option in ("hidden=16", "epochs=30", "lr=0.03", "ks=[12]", "levels=[1]")]
    assert fit("discovery.clusterer.name=lander", *small) == 0
    model = load_lander(Path("fitted"))
    features = np.load("new/features.npy")
    num_clusters = []
    for k, tau, levels in ((12, 0.5, 10), (6, 0.5, 1), (12, 0.95, 1)):
        assert run(f"discovery.clusterer.k={k}", f"{network}.tau={tau}", f"{network}.max_levels={levels}") == 0
        expected = cluster(features, model, k, tau, levels)
        with np.load("out/clusters.npz") as arrays:
            np.testing.assert_array_equal(together(arrays["clusters"]), together(expected.labels.numpy()))
            np.testing.assert_array_equal(arrays["density"], expected.density.numpy())
        num_clusters.append(int(scores()["all"]["clusters"]))
    assert len(set(num_clusters)) > 1


def test_dense_images_are_scored_by_themselves_and_those_without_a_label_not_at_all(place: Path) -> None:
    labels = np.repeat(np.arange(NUM_CLASSES), SIZE)
    # The last class has no labels, and one image of the first stands alone.
    write(place / "mixed", np.where(labels == NUM_CLASSES - 1, -1, labels))
    written = read_embeddings(Path("mixed"))
    written.features[0] = np.eye(16, dtype=np.float32)[15]
    write_embeddings(Path("mixed"), written)
    assert fit("discovery.clusterer.name=components", "discovery.clusterer.k=5") == 0
    assert run("--embeddings", "mixed", "discovery.clusterer.k=5", "discovery.selection.density_threshold=0.5") == 0
    found = scores()
    assert found["all"]["clusters"] == NUM_CLASSES
    assert (found["all"]["images"], found["dense"]["images"]) == (NUM_CLASSES * SIZE, NUM_CLASSES * SIZE - 1)
    # Seven pairs of the first class are missed, of five times 28.
    assert found["all"]["pairwise_recall"] == pytest.approx(133 / 140)
    assert found["dense"]["pairwise_recall"] == 1


def test_a_folder_that_is_there_is_not_written_over(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("discovery.clusterer.name=components") == 0
    before = Path("fitted/clusterer.json").read_bytes()
    assert fit("discovery.clusterer.name=kmeans") == 2
    assert "fitted is not empty" in capsys.readouterr().err
    assert Path("fitted/clusterer.json").read_bytes() == before


def test_what_is_missing_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "fit", "--out", "fitted"]) == 2
    assert "--embeddings is missing" in capsys.readouterr().err
    write(place / "unlabelled", np.full(9, -1))
    assert main(["cluster", "fit", "--embeddings", "unlabelled", "--out", "b", "discovery.clusterer.name=lander"]) == 2
    assert "learns from labelled images, of which there are none" in capsys.readouterr().err
