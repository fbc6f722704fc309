"""Leiden: parts with more weight inside than a resolution asks for. Legend: N nodes, E edges.

igraph and leidenalg are under the GPL and therefore an extra: nothing of ours depends on them.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.core.rng import derive_seed
from shelfmark.discovery.clusterers.thresholded import Thresholded, strong_edges
from shelfmark.ops.graph import Graph


@dataclass(frozen=True, kw_only=True)
class Leiden(Thresholded):
    """The partition of the best Potts score: the weight inside clusters, less `resolution` for every pair inside.

    Source: Traag et al., "From Louvain to Leiden: guaranteeing well-connected communities", Scientific Reports 2019.
    """

    name: ClassVar[str] = "leiden"

    resolution: float = 0.1
    """least mean weight of the pairs of images in a cluster; a pair without a link weighs 0"""
    iterations: int = 2
    """of the search; negative: until nothing changes"""
    seed: int = 0
    """of the search"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.resolution > 0:
            raise UserError(f"resolution={self.resolution} must be above 0: at 0 each connected part is one cluster.")

    def partition(self, graph: Graph, threshold: float) -> Tensor:
        if any(importlib.util.find_spec(package) is None for package in ("igraph", "leidenalg")):
            raise UserError("the clusterer leiden needs igraph and leidenalg (GPL): pip install igraph leidenalg.")
        import igraph
        import leidenalg

        source, target, similarity = strong_edges(graph, threshold)
        network = igraph.Graph(n=graph.num_nodes, edges=list(zip(source.tolist(), target.tolist())))
        found = leidenalg.find_partition(
            network,
            leidenalg.CPMVertexPartition,
            weights=similarity.tolist(),
            resolution_parameter=self.resolution,
            n_iterations=self.iterations,
            seed=derive_seed(self.seed, "discovery.leiden") % 2**31,
        )
        return torch.tensor(found.membership, dtype=torch.int64)
