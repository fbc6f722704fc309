"""DBSCAN on the graph of neighbours. Legend: N nodes, E edges.

Source: Ester et al., "A Density-Based Algorithm for Discovering Clusters in Large Spatial Databases with Noise", KDD
1996.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.discovery.clusterers.thresholded import Thresholded, strong_edges
from shelfmark.ops.connected import connected_components
from shelfmark.ops.graph import Graph


@dataclass(frozen=True, kw_only=True)
class Dbscan(Thresholded):
    """Clusters of core images, which have at least `min_images` within the threshold, and what borders on them.

    Two images are compared only if either is among the k nearest of the other. An image on the border of several
    clusters goes to its most similar core image, so the order of the images does not matter; of equally similar core
    images it takes the one with the lowest row. An image without a core image near it is a cluster of its own.
    """

    name: ClassVar[str] = "dbscan"

    min_images: int = 4
    """images within the threshold, itself among them, that make an image a core"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.min_images <= self.k:
            raise UserError(
                f"min_images={self.min_images} must be between 1 and k={self.k}: no more neighbours are seen."
            )

    def partition(self, graph: Graph, threshold: float) -> Tensor:
        source, target, similarity = strong_edges(graph, threshold)
        # Both ways, so that each node has all its edges.
        source, target, similarity = torch.cat([source, target]), torch.cat([target, source]), similarity.repeat(2)
        is_core = 1 + source.bincount(minlength=graph.num_nodes) >= self.min_images
        inner = is_core[source] & is_core[target]
        parts = connected_components(source[inner], target[inner], graph.num_nodes)
        border = ~is_core[source] & is_core[target]
        core = _most_similar(source[border], target[border], similarity[border], graph.num_nodes)
        return torch.where(is_core, parts, torch.where(core < 0, -1, parts[core]))


def _most_similar(source: Tensor, target: Tensor, similarity: Tensor, num_nodes: int) -> Tensor:
    """(N,) int64: of each source, the target of its most similar edge, the lowest among equals; -1 without an edge."""
    best = similarity.new_full((num_nodes,), -torch.inf).scatter_reduce_(0, source, similarity, "amax")
    is_best = similarity == best[source]
    lowest = torch.full((num_nodes,), num_nodes, device=source.device)
    lowest.scatter_reduce_(0, source[is_best], target[is_best], "amin")
    return lowest.where(lowest < num_nodes, -1)
