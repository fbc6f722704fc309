"""Connected components: who is linked by a chain of similar images. The baseline that everyone should see first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from shelfmark.discovery.clusterers.thresholded import Thresholded, strong_edges
from shelfmark.discovery.thresholds import similarity_threshold
from shelfmark.ops.connected import connected_components
from shelfmark.ops.graph import Graph


@dataclass(frozen=True, kw_only=True)
class Components(Thresholded):
    """Parts of the graph that hang together by edges of at least the threshold."""

    name: ClassVar[str] = "components"

    def partition(self, graph: Graph, threshold: float) -> Tensor:
        source, target, _ = strong_edges(graph, threshold)
        return connected_components(source, target, graph.num_nodes)

    def best_threshold(self, graph: Graph, labels: Tensor) -> float:
        return similarity_threshold(graph, labels).value
