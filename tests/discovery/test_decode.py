from __future__ import annotations

import numpy as np
import oracles_discovery as oracle
import pytest
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.discovery.decode import decode
from shelfmark.ops.graph import Graph


def _graph(neighbours: list[list[int]], valid: list[list[int]] | None = None) -> Graph:
    rows = torch.tensor(neighbours)
    is_valid = torch.ones_like(rows, dtype=torch.bool) if valid is None else torch.tensor(valid).bool()
    return Graph(rows.where(is_valid, 0), is_valid.double(), is_valid)


def _random(num_nodes: int, num_places: int, seed: int) -> tuple[Graph, Tensor, Tensor]:
    """Coarse numbers, so that densities and distances are often equal, and about a fifth of the places empty."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(num_nodes, num_nodes, generator=generator).fill_diagonal_(2).argsort(dim=1)
    valid = torch.rand(num_nodes, num_places, generator=generator) < 0.8
    distance = torch.randint(0, 8, (num_nodes, num_places), generator=generator) / 8
    density = torch.randint(0, 10, (num_nodes,), generator=generator) / 10
    return Graph(order[:, :num_places].where(valid, 0), valid.float(), valid), distance.where(valid, 0), density


def _by_loops(graph: Graph, distance: Tensor, density: Tensor, tau: float) -> tuple[list[int], list[int], list[int]]:
    near = [
        [(int(other), 1.0) for other, is_edge in zip(row, valid) if is_edge]
        for row, valid in zip(graph.neighbours, graph.valid)
    ]
    distances = [row[valid].tolist() for row, valid in zip(distance, graph.valid)]
    parent = oracle.parents(near, distances, density.tolist(), tau)
    return (*oracle.trees(parent), parent)


def test_a_worked_example() -> None:
    # 0 <- 1 <- 2 climb to 0; 3 sees only 4, which is as dense as itself; 4 sees 0 at too great a distance.
    graph = _graph([[1, 2], [0, 2], [1, 0], [4, 2], [0, 3]])
    density = torch.tensor([0.9, 0.8, 0.7, 0.75, 0.75])
    distance = torch.tensor([[0.0, 0.0], [0.2, 0.1], [0.1, 0.2], [0.0, 0.0], [0.5, 0.0]])
    labels, peaks, parent = decode(graph, distance, density, tau=0.5)
    assert parent.tolist() == [0, 0, 1, 3, 4]
    assert (labels.tolist(), peaks.tolist()) == ([0, 0, 0, 1, 2], [0, 3, 4])


def test_of_equally_near_parents_the_first_in_the_order_of_the_neighbours_is_taken() -> None:
    graph, density = _graph([[2, 1], [0, 2], [1, 0]]), torch.tensor([0.1, 0.5, 0.9])
    assert decode(graph, torch.zeros(3, 2), density, tau=0.0)[2].tolist() == [2, 2, 2]
    graph = _graph([[1, 2], [0, 2], [1, 0]])
    assert decode(graph, torch.zeros(3, 2), density, tau=0.0)[2].tolist() == [1, 2, 2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_distance_must_be_strictly_below_one_minus_tau_and_the_parent_strictly_denser(dtype: torch.dtype) -> None:
    graph, density = _graph([[1], [0]]), torch.tensor([0.1, 0.2], dtype=dtype)
    at = torch.tensor([[0.25], [0.25]], dtype=dtype)
    assert decode(graph, at, density, tau=0.75)[1].tolist() == [0, 1]
    assert decode(graph, at, density, tau=0.5)[1].tolist() == [1]
    assert decode(graph, at, density.new_zeros(2), tau=0.5)[1].tolist() == [0, 1]


def test_a_probability_too_small_for_one_minus_it_still_decides() -> None:
    # 1 - p rounds to 1 for both, and the first would win.
    graph, density = _graph([[1, 2], [0, 2], [0, 1]]), torch.tensor([0.1, 0.5, 0.5])
    distance = torch.tensor([[1e-12, 1e-15], [1.0, 1.0], [1.0, 1.0]])
    assert decode(graph, distance, density, tau=0.9)[2].tolist() == [2, 1, 2]


def test_an_empty_place_is_no_edge() -> None:
    graph = _graph([[1, 0], [2, 0], [1, 0]], valid=[[0, 0], [1, 0], [1, 0]])
    density = torch.tensor([0.1, 0.2, 0.9])
    # Node 1's empty place holds node 0 at distance 0.
    assert decode(graph, torch.zeros(3, 2), density, tau=0.0)[2].tolist() == [0, 2, 2]


@pytest.mark.parametrize("seed", range(8))
def test_random_graphs_with_many_ties_agree_with_loops_over_edges(seed: int) -> None:
    graph, distance, density = _random(30 + seed, 1 + seed % 5, seed)
    tau = (0.0, 0.25, 0.3, 0.5)[seed % 4]
    found = decode(graph, distance, density, tau)
    assert [part.tolist() for part in found] == list(_by_loops(graph, distance, density, tau))


def test_another_order_of_the_nodes_gives_the_same_trees() -> None:
    graph, distance, density = _random(60, 4, seed=3)
    density = density + torch.linspace(0, 0.01, 60)
    order = torch.from_numpy(np.random.default_rng(0).permutation(60))
    place = order.argsort()
    shuffled = Graph(
        place[graph.neighbours][order].where(graph.valid[order], 0), graph.similarities[order], graph.valid[order]
    )
    labels, peaks, parent = decode(graph, distance, density, 0.2)
    found_labels, found_peaks, found_parent = decode(shuffled, distance[order], density[order], 0.2)
    assert torch.equal(found_parent, place[parent][order])
    assert torch.equal(found_peaks, place[peaks].sort().values)
    same = labels[order][:, None] == labels[order]
    assert torch.equal(found_labels[:, None] == found_labels, same)


def test_a_chain_of_a_thousand_nodes_is_one_tree() -> None:
    num_nodes = 1000
    graph = _graph([[min(node + 1, num_nodes - 1)] for node in range(num_nodes)])
    labels, peaks, _ = decode(graph, torch.zeros(num_nodes, 1), torch.arange(num_nodes).float(), tau=0.0)
    assert peaks.tolist() == [num_nodes - 1]
    assert not labels.any()


def test_no_node_one_node_and_no_place_for_a_neighbour() -> None:
    for num_nodes, num_places in ((0, 3), (1, 3), (4, 0)):
        nothing = torch.zeros(num_nodes, num_places)
        graph = Graph(nothing.long(), nothing, nothing.bool())
        labels, peaks, parent = decode(graph, nothing, torch.zeros(num_nodes), tau=0.5)
        assert labels.tolist() == peaks.tolist() == parent.tolist() == list(range(num_nodes))
        assert labels.dtype == peaks.dtype == parent.dtype == torch.int64


def test_what_does_not_fit_is_refused() -> None:
    graph = _graph([[1], [0]])
    with pytest.raises(ValueError, match="do not fit a graph"):
        decode(graph, torch.zeros(2, 2), torch.zeros(2), 0.5)
    with pytest.raises(ValueError, match="do not fit a graph"):
        decode(graph, torch.zeros(2, 1), torch.zeros(3), 0.5)
    with pytest.raises(UserError, match="tau=1.5: expected 0 to 1"):
        decode(graph, torch.zeros(2, 1), torch.zeros(2), 1.5)
