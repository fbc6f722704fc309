"""The clusterers: partitions worked out by hand, scikit-learn as oracle, and what all of them promise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.cluster import DBSCAN
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.discovery.clusterers import Components, Dbscan, Hdbscan, KMeans, choose_clusterer, neighbour_density
from shelfmark.discovery.clusterers.clusters import clusters_of, numbered
from shelfmark.discovery.clusterers.thresholded import Thresholded, strong_edges
from shelfmark.discovery.lander import build_graph
from shelfmark.ops.cluster_metrics import bcubed, pairwise
from shelfmark.ops.graph import Graph


def made_up(num_classes: int, each: int, spread: float, seed: int = 0, dim: int = 16) -> tuple[Tensor, Tensor]:
    """(N, D) vectors about the centre of their class, in mixed order, and (N,) labels."""
    draws = torch.Generator().manual_seed(seed)
    labels = torch.arange(num_classes).repeat_interleave(each)[torch.randperm(num_classes * each, generator=draws)]
    centres = torch.nn.functional.normalize(torch.randn(num_classes, dim, generator=draws), dim=1)
    noise = torch.randn(len(labels), dim, generator=draws) * spread / dim**0.5
    return 3 * (centres[labels] + noise), labels


def graph_of(edges: dict[tuple[int, int], float], num_nodes: int, places: int) -> Graph:
    """A graph by hand: of (node, neighbour) the similarity."""
    neighbours = torch.zeros(num_nodes, places, dtype=torch.int64)
    similarities, valid = torch.zeros(num_nodes, places), torch.zeros(num_nodes, places, dtype=torch.bool)
    for node in range(num_nodes):
        own = sorted(((value, other) for (one, other), value in edges.items() if one == node), reverse=True)
        for place, (value, other) in enumerate(own):
            neighbours[node, place], similarities[node, place], valid[node, place] = other, value, True
    return Graph(neighbours, similarities, valid)


CHAIN = graph_of(
    {(0, 1): 0.9, (1, 0): 0.9, (1, 2): 0.8, (2, 1): 0.8, (3, 2): 0.5, (3, 4): 0.7, (4, 3): 0.7}, num_nodes=6, places=3
)
"""0 - 1 - 2 strongly, 3 - 4, 3 sees 2 from afar, 5 alone."""

EVERY = [
    Components(threshold=0.6),
    Dbscan(threshold=0.6, min_images=3),
    KMeans(num_clusters=6),
    Hdbscan(min_cluster_size=3),
]


def test_edges_of_a_threshold_come_once_a_pair_and_in_order() -> None:
    source, target, similarity = strong_edges(CHAIN, 0.7)
    assert source.tolist() == [0, 1, 3]
    assert target.tolist() == [1, 2, 4]
    torch.testing.assert_close(similarity, torch.tensor([0.9, 0.8, 0.7]))
    assert strong_edges(CHAIN, 0.5)[0].tolist() == [0, 1, 2, 3]
    assert len(strong_edges(CHAIN, 0.95)[0]) == 0


def test_components_hang_together_by_edges_of_the_threshold_and_more() -> None:
    features = torch.eye(6)
    clusters = Components(k=4, threshold=0.7).cluster(features, CHAIN)
    assert clusters.labels.tolist() == [0, 0, 0, 1, 1, 2]
    assert Components(k=4, threshold=0.5).cluster(features, CHAIN).labels.tolist() == [0, 0, 0, 0, 0, 1]
    assert Components(k=4, threshold=0.91).cluster(features, CHAIN).labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert clusters.record == {
        "clusterer": "components",
        "k": 4,
        "threshold": 0.7,
        "num_images": 6,
        "num_clusters": 3,
    }


def test_density_is_the_mean_cosine_to_the_neighbours_of_the_own_cluster() -> None:
    clusters = Components(k=4, threshold=0.7).cluster(torch.eye(6), CHAIN)
    torch.testing.assert_close(clusters.density, torch.tensor([0.9, 0.85, 0.8, 0.7, 0.7, 0.0]))
    one = neighbour_density(CHAIN, torch.zeros(6, dtype=torch.int64))
    torch.testing.assert_close(one, torch.tensor([0.9, 0.85, 0.8, 0.6, 0.7, 0.0]))


def test_parts_are_numbered_by_their_first_member_and_each_rest_is_its_own() -> None:
    assert numbered(torch.tensor([7, -1, 3, 7, -1, 3])).tolist() == [0, 1, 2, 0, 3, 2]
    assert numbered(torch.tensor([-1, -1])).tolist() == [0, 1]
    assert numbered(torch.empty(0, dtype=torch.int64)).tolist() == []


def test_dbscan_by_hand_has_cores_borders_and_noise() -> None:
    # 1 has three within the threshold, itself among them; 0 and 2 border on it; 3 and 4 have two each.
    clusters = Dbscan(k=4, threshold=0.7, min_images=3).cluster(torch.eye(6), CHAIN)
    assert clusters.labels.tolist() == [0, 0, 0, 1, 2, 3]
    assert Dbscan(k=4, threshold=0.7, min_images=2).cluster(torch.eye(6), CHAIN).labels.tolist() == [0, 0, 0, 1, 1, 2]


def test_a_border_goes_to_its_most_similar_core_and_joins_no_clusters() -> None:
    edges = {}
    for first in (0, 3):  # two full triangles, and 6 between them
        for one in range(first, first + 3):
            edges |= {(one, other): 0.9 for other in range(first, first + 3) if other != one}
    edges |= {(6, 0): 0.6, (6, 3): 0.7}
    graph = graph_of(edges, num_nodes=7, places=3)
    clusters = Dbscan(k=4, threshold=0.5, min_images=4).cluster(torch.eye(7), graph)
    # Only 0 and 3 have four within the threshold.
    assert clusters.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    tie = graph_of({**edges, (6, 0): 0.7}, num_nodes=7, places=3)
    assert Dbscan(k=4, threshold=0.5, min_images=4).cluster(torch.eye(7), tie).labels.tolist()[6] == 0


@pytest.mark.parametrize("min_images", [1, 3, 6])
@pytest.mark.parametrize("threshold", [0.5, 0.75, 0.9])
def test_dbscan_agrees_with_scikit_learn_on_the_same_edges(min_images: int, threshold: float) -> None:
    features, _ = made_up(num_classes=12, each=11, spread=0.6, seed=3)
    graph = build_graph(features.double(), k=7)
    distances = np.full((graph.num_nodes, graph.num_nodes), 2.0)
    for one in range(graph.num_nodes):
        for place in range(6):
            if graph.valid[one, place]:
                other = int(graph.neighbours[one, place])
                distances[one, other] = distances[other, one] = 1 - float(graph.similarities[one, place])
    np.fill_diagonal(distances, 0)
    oracle = DBSCAN(eps=1 - threshold, min_samples=min_images, metric="precomputed").fit(distances)
    parts = Dbscan(k=7, threshold=threshold, min_images=min_images).partition(graph, threshold).numpy()
    is_core = np.zeros(len(parts), dtype=bool)
    is_core[oracle.core_sample_indices_] = True
    assert np.array_equal(parts < 0, oracle.labels_ < 0)
    cores = np.flatnonzero(is_core)
    assert np.array_equal(numbered(torch.tensor(parts[cores])), numbered(torch.tensor(oracle.labels_[cores])))
    borders = np.flatnonzero(~is_core & (parts >= 0))
    for one in borders:
        near = cores[distances[one, cores] <= 1 - threshold]
        assert parts[one] == parts[near[distances[one, near].argmin()]]
    if (min_images, threshold) == (3, 0.75):
        # The case has all three kinds.
        assert len(borders) > 3
        assert (parts < 0).sum() > 3


@pytest.mark.parametrize("clusterer", EVERY, ids=lambda one: one.name)
def test_well_apart_classes_are_found(clusterer: Components | Dbscan | KMeans | Hdbscan) -> None:
    features, labels = made_up(num_classes=6, each=9, spread=0.25)
    clusters = clusterer.cluster(features)
    # k-means may begin with two centres in one class, and then keeps them there.
    assert bcubed(labels, clusters.labels)[2] > (0.85 if clusterer.name == "kmeans" else 0.95)
    assert clusters.labels.dtype == torch.int64
    assert clusters.density.dtype == torch.float32
    assert sorted(set(clusters.labels.tolist())) == list(range(clusters.num_clusters))
    assert clusters.record["num_clusters"] == clusters.num_clusters
    assert clusters.density.median() > 0.5


@pytest.mark.parametrize("clusterer", [EVERY[0], EVERY[1], EVERY[3]], ids=lambda one: one.name)
def test_the_order_of_the_images_changes_nothing(clusterer: Components | Dbscan | Hdbscan) -> None:
    features, _ = made_up(num_classes=8, each=7, spread=0.5, seed=5)
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(1))
    plain, mixed = clusterer.cluster(features), clusterer.cluster(features[order])
    assert pairwise(plain.labels[order], mixed.labels)[2] == 1
    assert 1 < plain.num_clusters < len(features)
    torch.testing.assert_close(plain.density[order], mixed.density)


@pytest.mark.parametrize("clusterer", EVERY, ids=lambda one: one.name)
@pytest.mark.parametrize("num_images", [0, 1, 2, 5])
def test_few_images_and_numpy_are_no_special_case(clusterer: Components | Dbscan | KMeans | Hdbscan, num_images: int):
    features = np.asarray(made_up(num_classes=5, each=1, spread=0.1)[0][:num_images])
    clusters = clusterer.cluster(features)
    assert clusters.labels.shape == clusters.density.shape == (num_images,)
    assert clusters.num_clusters <= num_images


@pytest.mark.parametrize("clusterer", [Components(k=6), Dbscan(k=6)], ids=lambda one: one.name)
def test_a_threshold_is_calibrated_on_labelled_images(clusterer: Thresholded) -> None:
    features, labels = made_up(num_classes=20, each=8, spread=0.6, seed=2)
    fitted = clusterer.fit(features, labels)
    assert fitted.threshold is not None
    best = bcubed(labels, fitted.cluster(features).labels)[2]
    others = [bcubed(labels, replace(fitted, threshold=t).cluster(features).labels)[2] for t in (0.3, 0.5, 0.9)]
    assert best > 0.8 > max(others)
    assert fitted.fit(features[:9], labels[:9]) is fitted
    assert clusterer.fit(features.numpy(), labels.numpy()) == fitted


def test_images_without_a_label_calibrate_nothing() -> None:
    features, labels = made_up(num_classes=10, each=8, spread=0.45, seed=2)
    strangers = torch.cat([features, 50 * features.roll(1, dims=1)])
    padded = torch.cat([labels, torch.full_like(labels, -1)])
    assert Components(k=6).fit(strangers, padded) == Components(k=6).fit(features, labels)
    with pytest.raises(UserError, match="of which there are none"):
        Components().fit(features, torch.full_like(labels, -1))


def test_without_a_threshold_the_error_says_what_to_do() -> None:
    with pytest.raises(UserError, match="give one, or call fit"):
        Components().cluster(torch.eye(4))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Components(k=1), "k=1"),
        (lambda: Components(threshold=1.5), "between 0 and 1"),
        (lambda: Dbscan(k=4, min_images=5), "min_images=5 must be between 1 and k=4"),
        (lambda: KMeans(num_clusters=0), "num_clusters=0 must be above 0"),
        (lambda: Hdbscan(min_cluster_size=1), "min_cluster_size=1"),
        (lambda: Hdbscan(min_images=0), "min_images=0"),
    ],
)
def test_options_that_cannot_be_are_refused(make, said: str) -> None:
    with pytest.raises(UserError, match=said):
        make()


def test_kmeans_learns_how_large_a_class_is() -> None:
    features, labels = made_up(num_classes=6, each=9, spread=0.25)
    fitted = KMeans().fit(features, labels)
    assert fitted.images_per_cluster == 9
    assert fitted.cluster(features).record["num_centres"] == 6
    assert KMeans(num_clusters=3).fit(features, labels).images_per_cluster is None
    assert KMeans(num_clusters=90).cluster(features).num_clusters <= len(features)
    with pytest.raises(UserError, match="give num_clusters or images_per_cluster"):
        KMeans().cluster(features)
    with pytest.raises(UserError, match="no labelled class"):
        KMeans().fit(features, torch.full_like(labels, -1))


def test_kmeans_goes_by_the_direction_of_the_vectors() -> None:
    features, _ = made_up(num_classes=6, each=9, spread=0.25)
    lengths = torch.linspace(0.1, 40, len(features))[:, None]
    clusterer = KMeans(num_clusters=6)
    assert torch.equal(clusterer.cluster(features * lengths).labels, clusterer.cluster(features).labels)


def test_hdbscan_refuses_what_would_take_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shelfmark.discovery.clusterers.hdbscan.MOST_IMAGES", 3)
    with pytest.raises(UserError, match="compares every image with every other.*components"):
        Hdbscan().cluster(torch.eye(4))


def test_auto_takes_infomap_if_it_can_and_else_lander_for_many_classes_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed = "shelfmark.discovery.clusterers.auto.infomap.is_installed"
    monkeypatch.setattr(installed, lambda: False)
    name, reason = choose_clusterer(300)
    assert name == "lander"
    assert "300 labelled classes can teach it" in reason
    assert "pip install infomap" in reason
    name, reason = choose_clusterer(299)
    assert name == "components"
    assert "299 labelled classes" in reason
    assert "pip install infomap" in reason
    monkeypatch.setattr(installed, lambda: True)
    assert [choose_clusterer(classes)[0] for classes in (299, 300)] == ["infomap", "infomap"]


def test_clusters_of_a_graph_keep_what_the_clusterer_recorded() -> None:
    clusters = clusters_of(torch.tensor([4, 4, -1, -1, 0, 4]), CHAIN, {"clusterer": "made up"})
    assert clusters.labels.tolist() == [0, 0, 1, 2, 3, 0]
    assert clusters.record == {"clusterer": "made up", "num_images": 6, "num_clusters": 4}
