"""Clusterers that see only the edges of at least a threshold. Legend: N images, D embedding, K neighbours, E edges."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.core.types import Array
from shelfmark.discovery.clusterers.clusters import NUM_NEIGHBOURS, Clusters, clusters_of, numbered, rows_of
from shelfmark.discovery.lander import build_graph
from shelfmark.ops.cluster_metrics import bcubed
from shelfmark.ops.graph import Graph

NUM_TRIALS = 20
"""Thresholds that a calibration tries."""


@dataclass(frozen=True, kw_only=True)
class Thresholded(ABC):
    """A partition of the graph of the k nearest neighbours without its edges of a similarity below the threshold."""

    name: ClassVar[str]
    learns_on_val: ClassVar[bool] = False
    option_names: ClassVar[Mapping[str, str]] = {}

    k: int = NUM_NEIGHBOURS
    """neighbours of an image, itself among them"""
    threshold: float | None = None
    """least cosine of two images that are linked; None: calibrated on labelled images"""

    def __post_init__(self) -> None:
        if self.k < 2:
            raise UserError(f"k={self.k}: a graph needs k of 2 or more, for k counts the image itself.")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise UserError(f"threshold={self.threshold} must be a cosine between 0 and 1.")

    @abstractmethod
    def partition(self, graph: Graph, threshold: float) -> Tensor:
        """(N,) int64 parts by any number, -1 for a node that belongs nowhere."""

    def fit(self, features: Array, labels: Array) -> Self:
        """With the threshold under which labelled images cluster best, by BCubed F; itself where one is given.

        features: (N, D); labels: (N,), -1 leaves an image out. Of equally good thresholds the highest.
        """
        if self.threshold is not None:
            return self
        labels = torch.as_tensor(labels).cpu()
        labelled = labels >= 0
        if not labelled.any():
            raise UserError(f"{self.name}: its threshold is calibrated on labelled images, of which there are none.")
        graph = build_graph(rows_of(features, labelled), self.k)
        return replace(self, threshold=self.best_threshold(graph, labels[labelled]))

    def best_threshold(self, graph: Graph, labels: Tensor) -> float:
        """Of NUM_TRIALS quantiles of the edges' similarities. labels: (N,) of the graph's nodes."""
        similarities = graph.similarities[graph.valid].double().sort().values
        if not len(similarities):
            return 1.0
        places = torch.linspace(0, len(similarities) - 1, NUM_TRIALS).long()
        candidates = similarities[places].unique().flip(0).clamp(max=1).tolist()
        return max(candidates, key=lambda threshold: self._agreement(graph, threshold, labels))

    def _agreement(self, graph: Graph, threshold: float, labels: Tensor) -> float:
        return bcubed(labels, numbered(self.partition(graph, threshold)))[2]

    def cluster(self, features: Array, graph: Graph | None = None) -> Clusters:
        if self.threshold is None:
            raise UserError(f"{self.name} has no threshold: give one, or call fit with labelled images first.")
        graph = build_graph(features, self.k) if graph is None else graph
        record = {"clusterer": self.name, "k": self.k, "threshold": self.threshold}
        return clusters_of(self.partition(graph, self.threshold), graph, record)


def strong_edges(graph: Graph, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """(E,) source and target, int64, and similarity of each pair with an edge of at least `threshold`, once a pair.

    source < target; ordered by source, then target. Where both ends list each other they agree but for rounding: the
    greater similarity stands.
    """
    chosen = graph.valid & (graph.similarities >= threshold)
    source = torch.arange(graph.num_nodes, device=chosen.device)[:, None].expand_as(chosen)[chosen]
    target, similarity = graph.neighbours[chosen].long(), graph.similarities[chosen]
    pairs = torch.minimum(source, target) * graph.num_nodes + torch.maximum(source, target)
    pairs, edge = pairs.unique(return_inverse=True)
    similarity = similarity.new_zeros(len(pairs)).scatter_reduce_(0, edge, similarity, "amax")
    return pairs // graph.num_nodes, pairs % graph.num_nodes, similarity
