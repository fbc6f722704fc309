from __future__ import annotations

import oracles_discovery as oracle
import pytest
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.discovery.lander import build_graph
from shelfmark.discovery.select import by_density
from shelfmark.discovery.thresholds import density_threshold, similarity_threshold
from shelfmark.ops.graph import Graph


def test_a_worked_example() -> None:
    # By falling density: the pair (0, 1) is right, 2 adds two wrong ones, (3, 4) is right, 5 adds two wrong ones.
    labels = torch.tensor([0, 0, 1, 2, 2, 3])
    clusters = torch.tensor([0, 0, 0, 1, 1, 1])
    density = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    found = density_threshold(labels, clusters, density, 0.5)
    assert (found.value, found.precision, found.coverage) == pytest.approx((0.4, 0.5, 5 / 6))
    assert found.is_reached
    found = density_threshold(labels, clusters, density, 0.9)
    assert (found.value, found.precision, found.coverage) == pytest.approx((0.7, 1.0, 2 / 6))


def test_all_images_are_selected_where_all_pairs_are_right() -> None:
    labels, density = torch.tensor([0, 0, 1]), torch.tensor([-0.2, 0.5, -0.9])
    found = density_threshold(labels, labels, density, 1.0)
    assert (found.precision, found.coverage, found.is_reached) == (1.0, 1.0, True)
    assert found.value < -0.9


def test_where_no_threshold_reaches_the_target_the_best_is_taken_and_said_to_be_that() -> None:
    labels, clusters = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 0, 0, 0])
    found = density_threshold(labels, clusters, torch.tensor([0.4, 0.3, 0.2, 0.1]), 0.9)
    # 0 of 1, 1 of 3, 1 of 6.
    assert (found.value, found.precision) == pytest.approx((0.1, 1 / 3))
    assert not found.is_reached
    assert "no threshold reaches the precision 0.9" in found.reason


@pytest.mark.parametrize("num_images", [0, 1, 3])
def test_without_a_pair_nothing_is_selected(num_images: int) -> None:
    images = torch.arange(num_images)
    found = density_threshold(images, images, torch.ones(num_images), 0.5)
    assert (found.value, found.precision, found.coverage, found.is_reached) == (1.0, None, 0.0, False)
    assert "no two held-out images share a cluster" in found.reason


@pytest.mark.parametrize("seed", range(6))
def test_it_is_the_lowest_of_all_thresholds_that_reach_the_target(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (24,), generator=generator)
    clusters = torch.where(
        torch.rand(24, generator=generator) < 0.7, labels, torch.randint(-1, 4, (24,), generator=generator)
    )
    density = torch.randint(0, 9, (24,), generator=generator) / 8
    target = (0.5, 0.7, 0.95)[seed % 3]
    found = density_threshold(labels, clusters, density, target)
    by_threshold = {
        threshold: oracle.pairwise_precision(labels.tolist(), clusters.tolist(), (density > threshold).tolist())
        for threshold in [-1.0, *sorted(set(density.tolist()))]
    }
    reached = [
        threshold for threshold, precision in by_threshold.items() if precision is not None and precision >= target
    ]
    assert found.is_reached == bool(reached)
    assert found.precision == pytest.approx(by_threshold[found.value])
    measured = [precision for precision in by_threshold.values() if precision is not None]
    assert found.value == (min(reached) if reached else found.value)
    assert reached or found.precision == pytest.approx(max(measured))
    mask = by_density(clusters, density, found.value, 0, torch.full((24,), 2))[1]
    assert found.coverage == pytest.approx((mask == 1).float().mean().item())


def test_a_target_that_is_no_share_is_refused() -> None:
    with pytest.raises(UserError, match="target_precision=1.5: expected above 0"):
        density_threshold(torch.zeros(2).long(), torch.zeros(2).long(), torch.zeros(2), 1.5)


def _classes(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(8).repeat_interleave(5)
    centres = torch.randn(8, 6, generator=generator, dtype=torch.float64)
    return centres[labels] + 0.8 * torch.randn(40, 6, generator=generator, dtype=torch.float64), labels


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_components_are_best_at_the_threshold_among_all_that_were_tried(seed: int) -> None:
    features, labels = _classes(seed)
    graph = build_graph(features, 3)
    found = similarity_threshold(graph, labels)
    edges = [
        (node, int(other), float(cosine))
        for node in range(40)
        for other, cosine, valid in zip(graph.neighbours[node], graph.similarities[node], graph.valid[node])
        if valid
    ]

    def f_at(threshold: float) -> float:
        linked = [(first, second) for first, second, cosine in edges if cosine >= threshold]
        return oracle.bcubed_f(labels.tolist(), oracle.components(40, linked))

    assert found.f == pytest.approx(f_at(found.value))
    every_f = [f_at(cosine) for cosine in sorted({cosine for _, _, cosine in edges})]
    # The sweep may miss a narrow peak between its steps, but no more than that.
    assert found.f >= max(every_f) - 0.02
    assert found.f > every_f[0] + 0.05


def test_pairs_and_images_may_want_different_thresholds_and_nothing_else_is_a_score() -> None:
    features, labels = _classes(0)
    graph = build_graph(features, 3)
    assert similarity_threshold(graph, labels, "pairwise").score == "pairwise"
    with pytest.raises(UserError, match="score='nmi' is not one of: bcubed, pairwise"):
        similarity_threshold(graph, labels, "nmi")


def test_one_edge_and_none() -> None:
    graph = Graph(torch.tensor([[1], [0]]), torch.tensor([[0.7], [0.7]]), torch.ones(2, 1, dtype=torch.bool))
    found = similarity_threshold(graph, torch.tensor([3, 3]))
    assert (found.value, found.f) == pytest.approx((0.7, 1.0))
    with pytest.raises(UserError, match="no two of the labelled images are neighbours"):
        similarity_threshold(Graph(graph.neighbours, graph.similarities, ~graph.valid), torch.tensor([3, 3]))
