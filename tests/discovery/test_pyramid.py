from __future__ import annotations

from typing import Any

import numpy as np
import oracles_discovery as oracle
import pytest
import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.discovery.pyramid import PyramidLevel, pyramid


def _classes(num_classes: int, sizes: range, spread: float, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num_classes).repeat_interleave(
        torch.tensor([sizes[i % len(sizes)] for i in range(num_classes)])
    )
    centres = torch.randn(num_classes, 6, generator=generator, dtype=torch.float64)
    return centres[labels] + spread * torch.randn(len(labels), 6, generator=generator, dtype=torch.float64), labels


def _by_loops(features: np.ndarray, labels: list[int], k: int, levels: int) -> list[dict[str, Any]]:
    unit = oracle.unit_rows(features)
    nodes, cluster_of, found = list(range(len(unit))), np.arange(len(unit)), list[dict[str, Any]]()
    for level in range(levels):
        if len(nodes) <= k:
            break
        graph = oracle.neighbours(unit[nodes], k)
        own = [labels[node] for node in nodes]
        means = np.array([unit[cluster_of == place].mean(axis=0) for place in range(len(nodes))])
        found.append({"k": k, "level": level, "nodes": nodes, "labels": own, "means": means, "graph": graph})
        distances = [[1 - cosine for _, cosine in near] for near in graph]
        parent = oracle.parents(graph, distances, oracle.label_density(graph, own, k), tau=0)
        trees, roots = oracle.trees(parent)
        if len(roots) == len(nodes):
            break
        cluster_of = np.array(trees)[cluster_of]
        nodes = [nodes[root] for root in roots]
    return found


@pytest.mark.parametrize("seed", [0, 1])
def test_every_level_is_that_of_loops_over_nodes_and_edges(seed: int) -> None:
    features, labels = _classes(14, range(3, 9), 0.6, seed)
    ks, levels = (8, 5, 3), (2, 3, 4)
    found = pyramid(7 * features, labels, ks, levels)
    expected = [level for k, many in zip(ks, levels) for level in _by_loops(features.numpy(), labels.tolist(), k, many)]
    assert [(one.k, one.level, one.nodes.tolist()) for one in found] == [
        (one["k"], one["level"], one["nodes"]) for one in expected
    ]
    assert max(one.level for one in found) >= 2
    for one, other in zip(found, expected):
        assert one.labels.tolist() == other["labels"]
        assert np.allclose(one.cluster_features.numpy(), other["means"], atol=1e-12)
        assert _edges(one) == [[neighbour for neighbour, _ in near] for near in other["graph"]]
        cosines = [cosine for near in other["graph"] for _, cosine in near]
        assert np.allclose(one.graph.similarities[one.graph.valid].numpy(), cosines, atol=1e-12)


def _edges(level: PyramidLevel) -> list[list[int]]:
    return [row[valid].tolist() for row, valid in zip(level.graph.neighbours, level.graph.valid)]


def test_a_node_keeps_its_own_normalised_features_and_level_0_has_no_other_means() -> None:
    features, labels = _classes(10, range(4, 6), 0.5, seed=2)
    unit = torch.nn.functional.normalize(features, dim=1)
    for level in pyramid(features, labels, (4, 3), (3, 3)):
        assert torch.allclose(level.features, unit[level.nodes])
        assert torch.equal(level.labels, labels[level.nodes])
        if not level.level:
            assert torch.equal(level.cluster_features, level.features)


def test_a_pyramid_worked_out_by_hand() -> None:
    degrees = torch.tensor([0.0, 2.0, 5.0, 60.0, 62.0, 65.0, 67.5], dtype=torch.float64).deg2rad()
    features = torch.stack([degrees.cos(), degrees.sin()], dim=1)
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    found = pyramid(features, labels, (2,), (3,))
    # Each follows its nearest where that lies closer to another: 1 and 0 are each other's nearest, so equally dense.
    # 2 (nearest 1, 3 degrees) is less dense than 1; 3 and 4 likewise 0 and 1; 5 and 6 are 2.5 apart.
    assert found[0].nodes.tolist() == list(range(7))
    assert found[1].nodes.tolist() == [0, 1, 3, 4, 5, 6]
    expected = torch.stack([features[0], features[[1, 2]].mean(dim=0), *features[3:]])
    assert torch.allclose(found[1].cluster_features, expected)
    # On level 1 all have a partner that is as dense: nothing is joined, and there is no level 2.
    assert len(found) == 2


@pytest.mark.parametrize(("num_groups", "expected"), [(3, [15]), (4, [20, 4])])
def test_a_level_has_more_than_k_nodes(num_groups: int, expected: list[int]) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(num_groups).repeat_interleave(5)
    features = torch.eye(4)[labels] + 0.05 * torch.randn(len(labels), 4, generator=generator)
    # Each group has one peak.
    assert [one.graph.num_nodes for one in pyramid(features, labels, (3,), (2,))] == expected


def test_a_k_with_too_few_images_has_no_level_and_float32_stays_float32() -> None:
    features, labels = _classes(2, range(3, 5), 0.3, seed=3)
    found = pyramid(features.float(), labels, (7, 3), (2, 1))
    assert [(one.k, one.level) for one in found] == [(3, 0)]
    assert found[0].features.dtype == found[0].cluster_features.dtype == found[0].graph.similarities.dtype
    assert found[0].features.dtype == torch.float32


@pytest.mark.parametrize(
    ("num_images", "ks", "levels", "message"),
    [
        (3, (10, 3), (2, 3), "3 labelled images are too few for a graph of k=3 nearest"),
        (0, (3,), (1,), "0 labelled images are too few"),
        (9, (3, 5), (1,), "2 values of k and 1 of levels"),
        (9, (1,), (1,), "the image itself counts"),
        (9, (3,), (0,), "levels are at least 1"),
    ],
)
def test_what_makes_no_pyramid_is_refused(num_images: int, ks: Any, levels: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        pyramid(torch.eye(10)[:num_images], torch.arange(num_images), ks, levels)
