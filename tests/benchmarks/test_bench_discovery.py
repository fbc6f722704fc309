"""The tables of `make bench-discovery`: what they measure, on few images."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import bench_discovery
from bench_discovery import Measured, Size
from measuring import version_of

from shelfmark.core.errors import UserError
from shelfmark.discovery.clusterers import Components, write_clusterer
from shelfmark.discovery.lander import Lander, build_graph

SMALL = Size("small", 300, 200, {"kmeans": "left out: a reason"})


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures in this process, with a small network."""
    monkeypatch.setattr(bench_discovery, "in_own_process", lambda work, *arguments: work(*arguments))
    monkeypatch.setattr(bench_discovery, "NUM_EPOCHS", 2)
    monkeypatch.setattr(bench_discovery, "HIDDEN", 8)
    monkeypatch.setattr("measuring.MIN_ROUND_S", 1e-9)


def test_the_made_up_pool_has_a_long_tail_of_classes_that_hang_together() -> None:
    features, labels = bench_discovery.embeddings(2000, seed=1)
    counts = np.bincount(labels)
    assert features.shape == (2000, bench_discovery.DIM)
    assert np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    assert len(counts) == 100
    assert counts.min() >= 2
    assert counts.max() > 10 * np.median(counts)
    graph = build_graph(features, k=3)
    together = torch.from_numpy(labels)[graph.neighbours] == torch.from_numpy(labels)[:, None]
    assert 0.7 < together.float().mean() < 0.99
    assert not np.array_equal(features, bench_discovery.embeddings(2000, seed=0)[0])


@pytest.mark.parametrize("num_images", [1, 2, 39, 40, 57, 1001])
def test_class_sizes_add_up(num_images: int) -> None:
    counts = bench_discovery.class_sizes(num_images)
    assert counts.sum() == num_images
    assert (np.diff(counts) <= 0).all()


def test_every_clusterer_has_its_row(here: None) -> None:
    rows = list(bench_discovery.table(SMALL))
    cells = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in rows if "|" in line
    }
    assert all(len(row) == 8 for row in cells.values())
    assert cells["kmeans"][-1] == "left out: a reason"
    for name in ("components", "dbscan", "hdbscan", "lander, tau=0.9", "lander, tau=0.5"):
        # A network of two epochs may find nothing yet.
        assert 0 <= float(cells[name][4]) < 1, name
        assert float(cells[name][4]) > 0 or name.startswith("lander")
        assert 1 <= int(cells[name][3]) <= 300, name
    for name, package in (("infomap", "infomap"), ("leiden", "leidenalg")):
        assert ("pip install" in cells[name][-1]) == (version_of(package) == "absent")
    assert float(cells["components"][-1].removeprefix("threshold ")) > 0.2


def test_scores_are_those_of_the_found_clusters(here: None, tmp_path: Path) -> None:
    bench_discovery.make_pool(SMALL, tmp_path)
    write_clusterer(tmp_path / "clusterer", Components(threshold=0.0))
    one = bench_discovery.cluster_one(tmp_path, 1.5, {})
    assert one.fit_s == 1.5
    assert one.num_clusters == 1
    labels = np.load(tmp_path / "pool_labels.npy")
    counts = np.bincount(labels)
    precision = (counts * (counts - 1)).sum() / (300 * 299)
    assert one.pairwise_f == pytest.approx(2 * precision / (1 + precision))
    alone = bench_discovery.cluster_one(tmp_path, 0.0, {"threshold": 1.0})
    assert alone.num_clusters == 300
    assert alone.nmi == pytest.approx(2 * entropy(counts) / (entropy(counts) + math.log(300)))


def entropy(counts: np.ndarray) -> float:
    share = counts / counts.sum()
    return float(-(share * np.log(share)).sum())


def test_what_a_clusterer_refuses_stands_in_its_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse() -> float:
        raise UserError("too many images.")

    assert bench_discovery.row("hdbscan", tmp_path, refuse).endswith("| too many images. |")
    found = Measured(1.0, 2.5, 3_000_000, 1234, 0.5, 0.25, 0.125, "threshold 0.500")
    monkeypatch.setattr(bench_discovery, "in_own_process", lambda *arguments: found)
    assert bench_discovery.row("components", tmp_path, lambda: 1.0) == (
        "| components | 1.0 s | 2.50 s | 3 MB | 1,234 | 0.500 | 0.250 | 0.125 | threshold 0.500 |"
    )


def test_the_plain_pass_is_the_same_network() -> None:
    features, _ = bench_discovery.embeddings(60, seed=0)
    graph = build_graph(features, k=5)
    graph.valid[7] = False
    graph.valid[3, 2:] = False
    graph = replace(
        graph,
        neighbours=graph.neighbours.where(graph.valid, 0),
        similarities=graph.similarities.where(graph.valid, 0),
    )
    model = Lander(bench_discovery.DIM, 16, seed=3)
    probabilities, density = model(torch.from_numpy(features), graph)
    plain, plain_density = bench_discovery.plain_forward(model, torch.from_numpy(features), graph)
    torch.testing.assert_close(plain, probabilities[:, :, 0], atol=1e-6, rtol=0)
    torch.testing.assert_close(plain_density, density, atol=1e-6, rtol=0)
    assert plain.std() > 1e-3


def test_the_forward_rows_tell_time_memory_and_target(here: None) -> None:
    rows = list(bench_discovery.forward_rows(80, rounds=1))
    assert [row.split("|")[1].split(",")[0].strip() for row in rows] == ["plain", "forward", "forward", "decode"]
    assert float(rows[1].split("|")[4]) < 1e-6
    assert rows[3].rstrip(" |").endswith("under 0.1 s: met")


def test_without_a_gpu_the_row_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_discovery, "is_missing", lambda device: True)
    assert "needs a GPU" in bench_discovery.gpu_row(1000)
