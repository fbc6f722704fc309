"""Each node's nearest neighbours as dense tensors. Legend: N nodes, K places for neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Graph:
    """The edges from each node's neighbours to it, most similar first.

    neighbours: (N, K) int64. similarities: (N, K) floats, 0 to 1. valid: (N, K) bool; a place that is not valid is no
    edge, and holds neighbour 0 and similarity 0. A node is never its own neighbour.
    """

    neighbours: Tensor
    similarities: Tensor
    valid: Tensor

    def __post_init__(self) -> None:
        shapes = {tuple(part.shape) for part in (self.neighbours, self.similarities, self.valid)}
        if len(shapes) != 1 or self.neighbours.ndim != 2:
            raise ValueError(f"a graph's three tensors must be (N, K) alike, not {sorted(shapes)}")

    @property
    def num_nodes(self) -> int:
        return self.neighbours.shape[0]

    @property
    def num_places(self) -> int:
        """K, one less than the k that the graph was built with."""
        return self.neighbours.shape[1]

    def to(self, device: torch.device | str) -> Graph:
        return Graph(self.neighbours.to(device), self.similarities.to(device), self.valid.to(device))


def density_from_labels(graph: Graph, labels: Tensor) -> Tensor:
    """(N,) how much of a node's surroundings is of its own class: 1/K sum_j s_ij (1 if y_j = y_i else -1).

    labels: (N,) whole numbers. A place without a neighbour adds 0, and counts in K.
    Source: Xing et al., "Learning Hierarchical Graph Neural Networks for Image Clustering", ICCV 2021, section 3.3.
    """
    signs = torch.where(same_class(graph, labels), 1.0, -1.0).to(graph.similarities)
    weighted = torch.where(graph.valid, graph.similarities * signs, 0.0)
    return weighted.sum(dim=1) / max(1, graph.num_places)


def same_class(graph: Graph, labels: Tensor) -> Tensor:
    """(N, K) bool: whether the neighbour has the node's own label. False where there is no neighbour."""
    if labels.shape != (graph.num_nodes,):
        raise ValueError(f"labels must be ({graph.num_nodes},), one a node, not {tuple(labels.shape)}")
    return (labels[graph.neighbours] == labels[:, None]) & graph.valid
