from __future__ import annotations

from typing import Any

import numpy as np
import oracles_discovery as oracle
import pytest
import torch
from torch import Tensor, nn

from shelfmark.core.errors import UserError
from shelfmark.discovery.hierarchy import cluster
from shelfmark.discovery.lander import Lander, build_graph
from shelfmark.ops.graph import Graph


class Predictor(nn.Module):
    """A network of no weights: the cosine of two nodes' cluster means tells whether they are of one class."""

    def __init__(self, cluster_features: bool = True) -> None:
        super().__init__()
        self.cluster_features = cluster_features

    def forward(self, features: Tensor, graph: Graph, cluster_features: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert not self.training
        assert (cluster_features is not None) == self.cluster_features
        centres = features if cluster_features is None else cluster_features
        products = (centres[:, None] * centres[graph.neighbours]).sum(dim=2)
        not_same = torch.sigmoid(10 * (0.5 - products))
        density = (graph.similarities * (1 - 2 * not_same) * graph.valid).sum(dim=1) / max(1, graph.num_places)
        return torch.stack([not_same, 1 - not_same], dim=2), density


def _predict(
    features: np.ndarray, means: np.ndarray, graph: oracle.Neighbours
) -> tuple[list[list[float]], list[float]]:
    """The same by loops, with means."""
    k_less_one = 5
    not_same = [
        [1 / (1 + np.exp(-10 * (0.5 - float(means[node] @ means[other])))) for other, _ in near]
        for node, near in enumerate(graph)
    ]
    density = [
        sum(cosine * (1 - 2 * p) for (_, cosine), p in zip(near, not_same[node])) / k_less_one
        for node, near in enumerate(graph)
    ]
    return not_same, density


def _classes(num_classes: int, size: int, spread: float, seed: int, dim: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(num_classes, 1, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(num_classes, size, dim, generator=generator, dtype=torch.float64)
    return (centres + spread * noise).flatten(0, 1)


def _together(labels: Tensor) -> Tensor:
    """(N, N) whether two images are in one cluster."""
    return labels[:, None] == labels


@pytest.mark.parametrize("early_stop", [True, False])
@pytest.mark.parametrize(
    ("seed", "tau", "levels"), [(0, 0.0, 10), (1, 0.3, 10), (2, 0.1, 2), (3, 0.0, 1), (4, 0.9, 10)]
)
def test_levels_labels_and_peaks_are_those_of_loops_over_nodes_and_links(
    seed: int, tau: float, levels: int, early_stop: bool
) -> None:
    features = 3 * _classes(9, 7, 0.6, seed)
    labels, record = cluster(features, Predictor(), 6, tau, levels, early_stop)
    expected_labels, expected = oracle.hierarchy(features.numpy(), _predict, 6, tau, levels, early_stop)
    assert labels.tolist() == expected_labels
    found = [{"num_nodes": one.num_nodes, "num_edges": one.num_edges, "peaks": one.peaks.tolist()} for one in record]
    assert found == expected


def _three_levels() -> Tensor:
    """Pairs of pairs of pairs on a circle, in degrees: 8 images in 4 twos in 2 fours."""
    degrees = torch.tensor([0.0, 1.0, 10.0, 11.0, 50.0, 51.0, 60.0, 61.0], dtype=torch.float64).deg2rad()
    return torch.stack([degrees.cos(), degrees.sin()], dim=1)


class Half(Predictor):
    """Sees a link as it is; the density rises with the row, so each pair's peak is its second image."""

    def forward(self, features: Tensor, graph: Graph, cluster_features: Tensor | None = None) -> tuple[Tensor, Tensor]:
        density = torch.atan2(features[:, 1], features[:, 0])
        return torch.stack([1 - graph.similarities, graph.similarities], dim=2), density


def test_a_hierarchy_worked_out_by_hand() -> None:
    found = cluster(_three_levels(), Half(), k=2, tau=0.0, levels=10, early_stop=False)
    # 8 nodes; the nearest of 1 is 0, of 3 is 2, ...: only 0, 2, 4 and 6 follow. Then 3 and 7, of 1, 3, 5, 7. Two are k.
    assert [one.peaks.tolist() for one in found.record] == [[1, 3, 5, 7], [3, 7]]
    assert found.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert [(one.num_nodes, one.num_edges) for one in found.record] == [(8, 4), (4, 2)]
    assert torch.equal(found.density, found.record[0].density)
    assert found.density.shape == (8,)


def test_the_last_level_asked_for_is_the_last() -> None:
    found = cluster(_three_levels(), Half(), k=2, tau=0.0, levels=1, early_stop=False)
    assert len(found.record) == 1
    assert found.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


class Scripted(Predictor):
    """Of images along a line, lets the first few of a level follow their right neighbour: `links` says how many."""

    def __init__(self, links: list[int]) -> None:
        super().__init__(cluster_features=False)
        self.links = iter(links)

    def forward(self, features: Tensor, graph: Graph, cluster_features: Tensor | None = None) -> tuple[Tensor, Tensor]:
        nodes = torch.arange(graph.num_nodes)
        not_same = (nodes >= next(self.links))[:, None].expand_as(graph.valid).to(features)
        return torch.stack([not_same, 1 - not_same], dim=2), nodes.to(features)


@pytest.mark.parametrize(
    ("links", "early_stop", "expected"),
    [
        # 8 / 4 is k - 1 = 2 and not below it; 4 / 3 is; without early stop, a level without a link ends it.
        ([8, 4, 3, 0], True, [8, 4, 3]),
        ([8, 4, 3, 0], False, [8, 4, 3, 0]),
        # The first level has no level before it, whatever it adds.
        ([1, 1, 5], True, [1, 1]),
        ([8, 0, 5], True, [8, 0]),
        # 20 - 13 - 4 = 3 = k remain.
        ([13, 4, 1], False, [13, 4]),
        ([12, 4, 1], False, [12, 4, 1]),
    ],
)
def test_the_rules_by_which_it_ends(links: list[int], early_stop: bool, expected: list[int]) -> None:
    degrees = torch.arange(20, dtype=torch.float64).deg2rad()
    line = torch.stack([degrees.cos(), degrees.sin()], dim=1)
    found = cluster(line, Scripted(links), k=3, tau=0.5, early_stop=early_stop)
    assert [one.num_edges for one in found.record] == expected
    assert int(found.labels.max()) + 1 == 20 - sum(expected) == len(found.record[-1].peaks)


def test_a_level_without_a_link_is_the_last_and_stands_in_the_record() -> None:
    found = cluster(torch.eye(20, dtype=torch.float64), Predictor(), k=3, tau=0.5)
    assert [(one.num_nodes, one.num_edges) for one in found.record] == [(20, 0)]
    assert found.labels.tolist() == list(range(20))


def test_the_order_of_the_images_does_not_matter() -> None:
    features = _classes(10, 7, 0.5, seed=5)
    order = torch.randperm(70, generator=torch.Generator().manual_seed(1))
    found, shuffled = (cluster(x, Predictor(), 6, 0.1).labels for x in (features, features[order]))
    assert torch.equal(_together(shuffled), _together(found[order]))
    # Labels number the peaks in the order of the images.
    assert cluster(features[order], Predictor(), 6, 0.1).record[-1].peaks.diff().gt(0).all()


@pytest.mark.parametrize("mode", ["prob", "sim"])
def test_the_length_of_features_and_their_container_do_not_matter(mode: str) -> None:
    features = _classes(8, 6, 0.4, seed=6).float()
    model = Predictor(cluster_features=False)
    expected = cluster(features, model, 5, 0.2, mode=mode)
    for same in (100 * features, features.numpy(), features.double()):
        assert torch.equal(cluster(same, model, 5, 0.2, mode=mode).labels, expected.labels)


@pytest.mark.parametrize("levels", [1, 10])
def test_a_graph_that_is_there_already_serves_the_first_level_and_changes_nothing(levels: int) -> None:
    features = _classes(10, 7, 0.5, seed=5).float()
    model = Lander(8, 16, layer="gcn", seed=2)
    expected = cluster(features, model, 5, 0.4, levels, early_stop=False)
    for graph in (build_graph(features, 5), build_graph(features.double(), 5)):
        found = cluster(features, model, 5, 0.4, levels, early_stop=False, graph=graph)
        assert torch.equal(found.labels, expected.labels)
        assert [one.num_nodes for one in found.record] == [one.num_nodes for one in expected.record]
        assert torch.allclose(found.density, expected.density, atol=1e-6)
    nothing = Graph(torch.zeros(70, 4, dtype=torch.int64), torch.zeros(70, 4), torch.zeros(70, 4, dtype=torch.bool))
    assert cluster(features, model, 5, 0.4, graph=nothing).labels.tolist() == list(range(70))


def test_a_graph_of_another_k_or_of_other_images_is_refused() -> None:
    features = _classes(3, 4, 0.5, seed=5)
    for graph in (build_graph(features, 4), build_graph(features[:9], 5)):
        with pytest.raises(ValueError, match="12 images and k=5"):
            cluster(features, Predictor(), 5, 0.1, graph=graph)


@pytest.mark.parametrize("cluster_features", [False, True])
def test_a_lander_clusters_alike_in_any_order_of_the_images(cluster_features: bool) -> None:
    features = _classes(10, 7, 0.5, seed=5).float()
    model = Lander(8, 16, layer="gcn", cluster_features=cluster_features, seed=2)
    order = torch.randperm(70, generator=torch.Generator().manual_seed(1))
    found, shuffled = (cluster(x, model, 5, 0.4, early_stop=False) for x in (features, features[order]))
    assert torch.equal(_together(shuffled.labels), _together(found.labels[order]))
    assert torch.allclose(shuffled.density, found.density[order], atol=1e-6)
    assert 0 < found.labels.max() < 60
    assert len(found.record) > 1
    with torch.no_grad():
        assert torch.allclose(found.density, model(features, build_graph(features, 5))[1], atol=1e-6)


@pytest.mark.gpu
def test_a_gpu_finds_the_same_clusters_and_gives_them_back_where_the_features_were() -> None:
    features = _classes(30, 20, 0.5, seed=5)
    model = Lander(8, 16, cluster_features=True, seed=2).double()
    found = cluster(features, model, 5, 0.4, early_stop=False)
    with_model_there = cluster(features, model.cuda(), 5, 0.4, early_stop=False)
    with_both_there = cluster(features.cuda(), model, 5, 0.4, early_stop=False)
    assert with_model_there.labels.device.type == "cpu"
    assert with_both_there.labels.device.type == with_both_there.record[0].peaks.device.type == "cuda"
    for other in (with_model_there, with_both_there):
        assert torch.equal(other.labels.cpu(), found.labels)
        assert torch.allclose(other.density.cpu(), found.density)


def test_a_model_is_put_back_into_the_mode_it_was_in() -> None:
    model = Predictor().train()
    cluster(_classes(4, 5, 0.4, seed=0), model, 3, 0.2)
    assert model.training


def test_a_duplicate_is_a_neighbour_but_no_denser_one() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.8, 0.6]])
    found = cluster(features, None, 3, tau=0.5, mode="sim")
    # Densities 0.9, 0.9 and 0.8: the third image follows the first of the equal two, which stay apart.
    assert found.density.tolist() == pytest.approx([0.9, 0.9, 0.8])
    assert found.labels.tolist() == [0, 1, 0]


def test_images_of_negative_cosine_are_no_neighbours() -> None:
    features = torch.tensor([[1.0, 0.1], [1.0, 0.0], [-1.0, 0.1], [-1.0, 0.0], [-1.0, 0.05]])
    found = cluster(features, None, 5, tau=0.0, mode="sim")
    assert set(found.labels[:2].tolist()).isdisjoint(found.labels[2:].tolist())
    assert found.labels[2:].unique().numel() == 1


def test_without_a_model_the_density_is_the_mean_cosine_of_the_neighbours() -> None:
    features = _classes(3, 4, 0.3, seed=8)
    found = cluster(features, None, 4, tau=0.1, mode="sim")
    expected = [sum(c for _, c in near) / max(1, len(near)) for near in oracle.neighbours(features.numpy(), 4)]
    assert found.density.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("num_images", [0, 1, 2, 5])
@pytest.mark.parametrize("model", [None, Predictor(), Predictor(cluster_features=False)])
def test_pools_smaller_than_k_get_one_level(num_images: int, model: Predictor | None) -> None:
    features = _classes(1, 5, 0.1, seed=9)[:num_images]
    found = cluster(features, model, 10, tau=0.1, mode="sim" if model is None else "prob")
    # Of two images neither is denser.
    assert found.labels.tolist() == ([0, 1] if num_images == 2 else [0] * num_images)
    assert (found.labels.dtype, len(found.density)) == (torch.int64, num_images)
    assert len(found.record) == (num_images > 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 1}, "k=1: the image itself counts"),
        ({"levels": 0}, "levels=0: expected at least one"),
        ({"mode": "similarity"}, "mode='similarity' is not one of: prob, sim"),
        ({"model": None}, "needs a fitted model; without one, use mode=sim"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        cluster(torch.eye(4), **{"model": Predictor(), "k": 3, "tau": 0.5, **options})


def test_features_that_are_no_numbers_are_refused() -> None:
    features = torch.eye(12)
    features[3, 4] = torch.nan
    with pytest.raises(UserError, match="3 holds NaN or infinity"):
        cluster(features, Predictor(), 3, 0.5)
