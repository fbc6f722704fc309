from __future__ import annotations

import math

import oracles_discovery_network as oracle
import pytest
import torch
from torch import Tensor

from shelfmark.discovery.lander import Graph, build_graph, density_from_labels, loss
from shelfmark.discovery.lander_loss import Targets, balanced, parts

K = 5


def drawn_case(num_nodes: int = 40) -> tuple[Graph, Tensor, Tensor, Tensor, list]:
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(num_nodes, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (num_nodes,), generator=generator)
    graph = build_graph(features, K)
    probability = torch.rand(num_nodes, K - 1, 1, generator=generator, dtype=torch.float64)
    density = torch.rand(num_nodes, generator=generator, dtype=torch.float64)
    edges = oracle.nearest(features.tolist(), K)
    return graph, labels, torch.cat([1 - probability, probability], dim=2), density, edges


@pytest.mark.parametrize(("focal", "gamma"), [(False, 0.0), (True, 2.0)])
def test_the_loss_equals_a_loop_over_edges(focal, gamma):
    graph, labels, probability, density, edges = drawn_case()
    pairs = [probability[node, : len(found)].tolist() for node, found in enumerate(edges)]
    expected = oracle.loss(edges, pairs, density.tolist(), labels.tolist(), K, gamma)
    total, density_part, link_part = loss(probability, density, graph, labels, focal=focal)
    assert (float(density_part), float(link_part)) == pytest.approx(expected, abs=1e-12)
    assert total == density_part + link_part


def test_a_worked_loss_counts_edges_to_denser_neighbours_alone():
    # Densities by label: (0.75 - 0.5) / 2, 0.75 / 2 and -0.5 / 2. So 0 looks up to 1, 2 looks up to 0.
    graph = Graph(
        torch.tensor([[1, 2], [0, 0], [0, 0]]),
        torch.tensor([[0.75, 0.5], [0.75, 0.0], [0.5, 0.0]]),
        torch.tensor([[True, True], [True, False], [True, False]]),
    )
    labels = torch.tensor([4, 4, 9])
    same = torch.tensor([[0.25, 0.5], [0.9, 0.1], [0.2, 0.1]])
    total, density_part, link_part = loss(torch.stack([1 - same, same], dim=2), torch.zeros(3), graph, labels)
    assert float(density_part) == pytest.approx((0.125**2 + 0.375**2 + 0.25**2) / 3)
    assert float(link_part) == pytest.approx(-(math.log(0.25) + math.log(0.8)) / 2)
    assert float(total) == pytest.approx(float(density_part) + float(link_part))


def test_without_an_edge_that_counts_the_density_alone_is_learned():
    graph, labels, probability, density, _ = drawn_case()
    nowhere = Graph(graph.neighbours, graph.similarities, graph.valid & False)
    total, density_part, link_part = loss(probability, density, nowhere, labels)
    assert link_part == 0
    assert total == density_part > 0


def test_a_probability_of_zero_for_the_truth_gives_a_finite_loss():
    graph, labels, probability, density, _ = drawn_case()
    zero = torch.zeros_like(probability)
    assert loss(zero, density, graph, labels, focal=True)[0].isfinite()


def test_the_balance_keeps_all_of_the_smaller_class_and_as_many_of_the_larger():
    graph, labels, _, _, _ = drawn_case(200)
    targets = Targets.of(graph, labels)
    nodes = torch.arange(200)
    kept = balanced(targets.mask, targets.is_same, nodes, seed=1, step=0)
    num_same = int((targets.mask & targets.is_same).sum())
    num_other = int((targets.mask & ~targets.is_same).sum())
    assert num_same != num_other
    assert (kept & ~targets.mask).sum() == 0
    assert (kept & targets.is_same).sum() == (kept & ~targets.is_same).sum() == min(num_same, num_other)
    assert torch.equal(kept, balanced(targets.mask, targets.is_same, nodes, seed=1, step=0))
    assert not torch.equal(kept, balanced(targets.mask, targets.is_same, nodes, seed=1, step=1))


def test_the_balanced_loss_is_the_mean_over_what_was_kept():
    graph, labels, probability, density, _ = drawn_case(200)
    targets, nodes = Targets.of(graph, labels), torch.arange(200)
    kept = balanced(targets.mask, targets.is_same, nodes, seed=3, step=0)
    chance = torch.where(targets.is_same, probability[:, :, 1], probability[:, :, 0])
    found = loss(probability, density, graph, labels, balance=True, seed=3)[2]
    assert float(found) == pytest.approx(float(-chance[kept].log().mean()))


def test_a_part_of_the_nodes_gives_the_loss_of_that_part():
    graph, labels, probability, density, _ = drawn_case()
    targets, nodes = Targets.of(graph, labels), torch.tensor([3, 30, 11])
    found = parts(probability[nodes].log(), density[nodes], targets, nodes)
    truth = density_from_labels(graph, labels)
    assert float(found[1]) == pytest.approx(float(((density - truth)[nodes] ** 2).mean()))
    mask = targets.mask[nodes]
    chance = torch.where(targets.is_same, probability[:, :, 1], probability[:, :, 0])[nodes]
    assert float(found[2]) == pytest.approx(float(-chance[mask].log().mean()))
