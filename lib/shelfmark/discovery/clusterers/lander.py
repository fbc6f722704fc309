"""Hi-LANDER as a clusterer: a trained network joins images level by level. Legend: N images, D embedding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch

from shelfmark.core.errors import UserError
from shelfmark.core.types import Array
from shelfmark.discovery.clusterers.clusters import NUM_NEIGHBOURS, Clusters, numbered
from shelfmark.discovery.hierarchy import cluster
from shelfmark.discovery.lander import Lander
from shelfmark.ops.graph import Graph


@dataclass(frozen=True, kw_only=True, eq=False)
class LanderClusterer:
    """The hierarchy of `discovery.hierarchy` by a network that `discovery.fit` has trained.

    The density is the one that the network predicts on level 0, of the images themselves.
    """

    name: ClassVar[str] = "lander"
    learns_on_val: ClassVar[bool] = False
    option_names: ClassVar[Mapping[str, str]] = {}

    model: Lander
    k: int = NUM_NEIGHBOURS
    """neighbours of an image, itself among them"""
    tau: float = 0.9
    """two images are linked if the network gives less than 1 - tau to their being of different classes"""
    levels: int = 10
    """most levels of the hierarchy"""
    early_stop: bool = True
    """see `discovery.hierarchy.cluster`"""

    def __post_init__(self) -> None:
        if not 0 <= self.tau <= 1:
            raise UserError(f"tau={self.tau} must be between 0 and 1.")
        if self.k < 2 or self.levels < 1:
            raise UserError(f"k={self.k} must be 2 or more, levels={self.levels} 1 or more.")

    def fit(self, features: Array, labels: Array) -> Self:
        """Itself: the network is trained already."""
        return self

    def cluster(self, features: Array, graph: Graph | None = None) -> Clusters:
        """graph: of level 0; the later levels make those of their own nodes."""
        found = cluster(
            torch.as_tensor(features), self.model, self.k, self.tau, self.levels, self.early_stop, graph=graph
        )
        labels = numbered(found.labels.cpu())
        record = {"clusterer": self.name, "k": self.k, "tau": self.tau, "num_images": len(labels)}
        record["num_clusters"] = int(labels.max()) + 1 if len(labels) else 0
        record["levels"] = [{"num_nodes": level.num_nodes, "num_edges": level.num_edges} for level in found.record]
        return Clusters(labels, found.density.float().cpu(), record)
