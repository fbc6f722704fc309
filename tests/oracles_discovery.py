"""Clustering by plain loops over nodes, edges and pairs, as the formulas are written. Imports nothing of ours."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Neighbours = list[list[tuple[int, float]]]
"""Of each node its neighbours, most similar first, with the cosines."""


def neighbours(features: np.ndarray, k: int) -> Neighbours:
    """The k - 1 nearest others by cosine, the lower row first among equals, without those of negative cosine."""
    unit = unit_rows(features)
    found = []
    for node in range(len(unit)):
        pairs = [(float(unit[node] @ unit[other]), other) for other in range(len(unit)) if other != node]
        nearest = sorted(pairs, key=lambda pair: (-pair[0], pair[1]))[: k - 1]
        found.append([(other, min(cosine, 1.0)) for cosine, other in nearest if cosine >= 0])
    return found


def unit_rows(features: np.ndarray) -> np.ndarray:
    return np.array([row / math.sqrt(float(row @ row)) for row in features.astype(np.float64)])


def label_density(graph: Neighbours, labels: list[int], k: int) -> list[float]:
    return [
        sum(cosine if labels[other] == labels[node] else -cosine for other, cosine in near) / (k - 1)
        for node, near in enumerate(graph)
    ]


def parents(graph: Neighbours, distances: list[list[float]], density: list[float], tau: float) -> list[int]:
    """The parent of each node by walking its edges in order; its own number for a peak."""
    found = []
    for node, near in enumerate(graph):
        best, parent = math.inf, node
        for (other, _), distance in zip(near, distances[node]):
            if density[other] > density[node] and distance < 1 - tau and distance < best:
                best, parent = distance, other
        found.append(parent)
    return found


def trees(parent: list[int]) -> tuple[list[int], list[int]]:
    """(labels, roots) of a forest, by walking up from each node."""
    roots = [node for node, above in enumerate(parent) if node == above]
    labels = []
    for start in range(len(parent)):
        node = start
        while parent[node] != node:
            node = parent[node]
        labels.append(roots.index(node))
    return labels, roots


Predictor = Callable[[np.ndarray, np.ndarray, Neighbours], tuple[list[list[float]], list[float]]]
"""(features, cluster means, graph) -> the distance of each edge and the density of each node."""


def hierarchy(
    features: np.ndarray, predict: Predictor, k: int, tau: float, levels: int, early_stop: bool
) -> tuple[list[int], list[dict[str, list[int] | int]]]:
    """Labels by the union of all levels' parent links over the images, and each level's nodes, links and peaks."""
    unit = unit_rows(features)
    everywhere = list(range(len(unit)))
    nodes, record = list(range(len(unit))), []
    links_before = math.inf
    for _ in range(levels):
        labels, roots = trees(everywhere)
        root = np.array([roots[label] for label in labels])
        means = np.array([unit[root == node].mean(axis=0) for node in nodes])
        graph = neighbours(unit[nodes], k)
        distances, density = predict(unit[nodes], means, graph)
        local = parents(graph, distances, density, tau)
        for node, above in enumerate(local):
            everywhere[nodes[node]] = nodes[above]
        peaks = [nodes[node] for node, above in enumerate(local) if node == above]
        links = len(nodes) - len(peaks)
        record.append({"num_nodes": len(nodes), "num_edges": links, "peaks": peaks})
        nodes = peaks
        if links == 0 or (early_stop and links_before / links < k - 1) or len(nodes) <= k:
            break
        links_before = links
    return trees(everywhere)[0], record


def pairwise_precision(labels: list[int], clusters: list[int], chosen: list[bool]) -> float | None:
    """Of all pairs of chosen items in one cluster, the share of one class; None where there is no pair."""
    right = total = 0
    for first in range(len(labels)):
        for second in range(first):
            if chosen[first] and chosen[second] and clusters[first] == clusters[second] >= 0:
                total += 1
                right += labels[first] == labels[second]
    return right / total if total else None


def components(num_nodes: int, edges: list[tuple[int, int]]) -> list[int]:
    """The lowest node of each node's component, by spreading until nothing changes."""
    lowest = list(range(num_nodes))
    changed = True
    while changed:
        changed = False
        for first, second in edges:
            least = min(lowest[first], lowest[second])
            changed |= lowest[first] != least or lowest[second] != least
            lowest[first] = lowest[second] = least
    return lowest


def bcubed_f(labels: list[int], clusters: list[int]) -> float:
    precision = recall = 0.0
    items = range(len(labels))
    for item in items:
        both = sum(labels[item] == labels[other] and clusters[item] == clusters[other] for other in items)
        precision += both / sum(clusters[item] == clusters[other] for other in items)
        recall += both / sum(labels[item] == labels[other] for other in items)
    return 2 * precision * recall / (precision + recall) / len(labels)
