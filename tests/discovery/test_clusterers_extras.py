"""Infomap and Leiden, whose packages are extras: what they are handed, and what is said where they are missing.

Where the packages are installed the last two tests run them; elsewhere nothing here shows that they work.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from shelfmark.core.errors import UserError
from shelfmark.discovery.clusterers import Infomap, Leiden
from shelfmark.ops.graph import Graph

TWO_TRIANGLES = Graph(
    torch.tensor([[1, 2, 3], [0, 2, 0], [0, 1, 0], [4, 5, 0], [3, 5, 0], [3, 4, 0], [0, 0, 0]]),
    torch.tensor(
        [
            [0.9, 0.8, 0.3],
            [0.9, 0.7, 0.0],
            [0.8, 0.7, 0.0],
            [0.9, 0.8, 0.3],
            [0.9, 0.7, 0.0],
            [0.8, 0.7, 0.0],
            [0.0, 0.0, 0.0],
        ]
    ),
    torch.tensor([[True, True, True], *[[True, True, False]] * 2, [True] * 3, *[[True, True, False]] * 2, [False] * 3]),
)
"""Nodes 0 1 2 and 3 4 5 with a weak edge 0 - 3, and 6 alone."""
PAIRS = [(0, 1), (0, 2), (1, 2), (3, 4), (3, 5), (4, 5)]
WEIGHTS = [0.9, 0.8, 0.7, 0.9, 0.8, 0.7]


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    gpl = ("infomap", "igraph", "leidenalg")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in gpl else find(name, *rest))


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the adapters hand to packages that only take notes."""
    notes: dict[str, Any] = {}

    class Engine:
        def __init__(self, **options: Any) -> None:
            notes["options"] = options

        def add_nodes(self, nodes: Any) -> None:
            notes["nodes"] = list(nodes)

        def add_links(self, links: Any) -> None:
            notes["links"] = list(links)

        def run(self) -> None:
            notes["ran"] = True

        def write_clu(self, file: str) -> None:
            modules = {6: 3, **dict.fromkeys(range(3, 6), 2), **dict.fromkeys(range(3), 1)}
            lines = [f"{node} {module} 0.142857" for node, module in modules.items()]
            Path(file).write_text("\n".join(["# node_id module flow", *lines]))

    def find_partition(network: Any, kind: str, **options: Any) -> SimpleNamespace:
        notes.update(network=network, kind=kind, options=options)
        return SimpleNamespace(membership=[1, 1, 1, 0, 0, 0, 2])

    parts = {
        "infomap": {"Infomap": Engine},
        "igraph": {"Graph": lambda n, edges: (n, edges)},
        "leidenalg": {"CPMVertexPartition": "CPM", "find_partition": find_partition},
    }
    find = importlib.util.find_spec
    for name, content in parts.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: name in parts or find(name, *rest))
    return notes


def test_infomap_is_handed_every_node_and_each_strong_pair_once(handed: dict[str, Any]) -> None:
    clusters = Infomap(threshold=0.5, num_trials=3, seed=1).cluster(torch.eye(7), TWO_TRIANGLES)
    assert handed["nodes"] == list(range(7))
    assert [link[:2] for link in handed["links"]] == PAIRS
    assert [link[2] for link in handed["links"]] == pytest.approx(WEIGHTS)
    assert handed["options"]["num_trials"] == 3
    assert 0 < handed["options"]["seed"] < 2**31
    assert handed["ran"]
    assert clusters.labels.tolist() == [0, 0, 0, 1, 1, 1, 2]


def test_leiden_is_handed_every_node_and_each_strong_pair_once(handed: dict[str, Any]) -> None:
    clusters = Leiden(threshold=0.5, resolution=0.2).cluster(torch.eye(7), TWO_TRIANGLES)
    assert handed["network"] == (7, PAIRS)
    assert handed["options"]["weights"] == pytest.approx(WEIGHTS)
    assert handed["options"]["resolution_parameter"] == 0.2
    assert clusters.labels.tolist() == [0, 0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize(
    ("clusterer", "packages"), [(Infomap(threshold=0.5), "infomap"), (Leiden(threshold=0.5), "igraph leidenalg")]
)
def test_a_missing_extra_is_named(absent: None, clusterer: Infomap | Leiden, packages: str) -> None:
    with pytest.raises(UserError, match=rf"pip install {packages}\."):
        clusterer.cluster(torch.eye(7), TWO_TRIANGLES)


def test_leiden_refuses_a_resolution_of_zero() -> None:
    with pytest.raises(UserError, match="resolution=0.0 must be above 0"):
        Leiden(resolution=0.0)


def test_infomap_itself_finds_both_triangles_where_faiss_was_imported_before() -> None:
    pytest.importorskip("infomap")
    # Both are built with SWIG, and a crash would end this process.
    program = (
        "import faiss, torch\n"
        "from test_clusterers_extras import TWO_TRIANGLES, Infomap\n"
        "print(Infomap(threshold=0.2).cluster(torch.eye(7), TWO_TRIANGLES).labels.tolist())"
    )
    command = [sys.executable, "-W", "error:Infomap", "-c", program]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[0, 0, 0, 1, 1, 1, 2]"


def test_infomap_leaves_out_what_has_no_edge() -> None:
    pytest.importorskip("infomap")
    assert Infomap(threshold=0.95).cluster(torch.eye(7), TWO_TRIANGLES).labels.tolist() == list(range(7))


def test_leiden_itself_finds_both_triangles() -> None:
    pytest.importorskip("leidenalg")
    clusters = Leiden(threshold=0.2, resolution=0.3).cluster(torch.eye(7), TWO_TRIANGLES)
    assert clusters.labels.tolist() == [0, 0, 0, 1, 1, 1, 2]
