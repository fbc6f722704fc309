from __future__ import annotations

import numpy as np
import oracles_discovery_network as oracle
import pytest
import torch

from shelfmark.core.errors import UserError
from shelfmark.discovery import neighbours
from shelfmark.discovery.lander import build_graph
from shelfmark.retrieval.approximate import approximate_neighbours


def drawn(num_nodes: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(num_nodes, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def clustered(num_classes: int, size: int, dim: int) -> torch.Tensor:
    centres = drawn(num_classes, dim).repeat_interleave(size, dim=0)
    return (centres + 0.3 * drawn(num_classes * size, dim, seed=1)).float()


@pytest.mark.parametrize("engine", ["faiss", "torch", "auto"])
def test_a_graph_equals_that_of_a_slow_search_and_negative_cosines_are_no_edges(engine):
    features = drawn(23, 3)
    graph = build_graph(features, 12, engine=engine)
    expected = oracle.nearest(features.tolist(), 12)
    assert graph.neighbours.shape == (23, 11)
    assert any(len(edges) < 11 for edges in expected)
    for node, edges in enumerate(expected):
        assert graph.valid[node].tolist() == [place < len(edges) for place in range(11)]
        assert graph.neighbours[node, : len(edges)].tolist() == [other for other, _ in edges]
        assert graph.similarities[node, : len(edges)].tolist() == pytest.approx([s for _, s in edges], abs=1e-12)
    assert graph.neighbours[~graph.valid].eq(0).all()
    assert graph.similarities[~graph.valid].eq(0).all()


def test_k_counts_the_node_itself_and_a_duplicate_of_it_stays_a_neighbour():
    features = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.6, 0.8], [2.0, 0.0]])
    graph = build_graph(features, 3)
    assert graph.neighbours.tolist() == [[1, 3], [0, 3], [0, 1], [0, 1]]
    assert graph.similarities[0].tolist() == [1.0, 1.0]
    assert graph.similarities.max() <= 1


@pytest.mark.parametrize("engine", ["auto", "ivf"])
@pytest.mark.parametrize("num_nodes", [0, 1, 2, 4])
def test_places_for_which_no_other_node_is_left_are_not_valid(num_nodes, engine):
    graph = build_graph(torch.ones(num_nodes, 2), 6, engine=engine)
    assert graph.neighbours.shape == (num_nodes, 5)
    assert graph.valid.sum(dim=1).tolist() == [max(0, num_nodes - 1)] * num_nodes


def test_numpy_features_and_the_dtype_of_tensors_are_taken_as_they_are():
    features = drawn(12, 4)
    assert build_graph(features, 4).similarities.dtype == torch.float64
    assert build_graph(features.float(), 4).similarities.dtype == torch.float32
    assert torch.equal(build_graph(features.numpy(), 4).neighbours, build_graph(features, 4).neighbours)


def test_ivf_finds_nearly_all_neighbours_and_their_exact_similarities():
    features = clustered(300, 10, 16)
    exact, found = build_graph(features, 8, engine="torch"), build_graph(features, 8, engine="ivf")
    share = np.mean(
        [len(np.intersect1d(one, other)) / 7 for one, other in zip(exact.neighbours.numpy(), found.neighbours.numpy())]
    )
    assert share > 0.97
    is_equal = (exact.neighbours == found.neighbours) & exact.valid
    assert torch.equal(exact.similarities[is_equal], found.similarities[is_equal])


def test_ivf_that_reads_every_list_is_exact_with_duplicates_and_gives_the_same_twice():
    features = clustered(40, 20, 8)
    features[100:110] = features[100]
    scores, rows = approximate_neighbours(features, 5, num_probes=10**6)
    graph = build_graph(features, 6, engine="torch")
    assert torch.equal(rows[graph.valid], graph.neighbours[graph.valid])
    again = approximate_neighbours(features, 5, num_probes=10**6)
    assert torch.equal(rows, again[1])
    assert torch.equal(scores, again[0])
    assert (rows != torch.arange(800)[:, None]).all()


def test_auto_takes_ivf_for_many_nodes_alone(monkeypatch):
    asked = []
    real = neighbours.approximate_neighbours
    monkeypatch.setattr(neighbours, "approximate_neighbours", lambda *given: asked.append(1) or real(*given))
    monkeypatch.setattr(neighbours, "_MANY_NODES", 50)
    build_graph(drawn(49, 4), 3)
    assert asked == []
    build_graph(drawn(50, 4), 3)
    assert asked == [1]


@pytest.mark.parametrize(
    ("k", "engine", "said"), [(1, "auto", "k=1 counts the node"), (5, "fais", "Did you mean 'faiss'")]
)
def test_what_makes_no_graph_is_said(k, engine, said):
    with pytest.raises(UserError, match=said):
        build_graph(drawn(5, 2), k, engine=engine)
