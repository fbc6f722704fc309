"""HDBSCAN, by scikit-learn. Legend: N images, D embedding."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.core.types import Array
from shelfmark.discovery.clusterers.clusters import NUM_NEIGHBOURS, Clusters, clusters_of
from shelfmark.discovery.lander import build_graph
from shelfmark.ops.graph import Graph
from shelfmark.retrieval.vectors import comparable

MOST_IMAGES = 100_000


@dataclass(frozen=True, kw_only=True)
class Hdbscan:
    """Clusters that persist over many thresholds, so there is no threshold to choose. Noise is a cluster of one image.

    Source: Campello et al., "Density-Based Clustering Based on Hierarchical Density Estimates", PAKDD 2013.
    """

    name: ClassVar[str] = "hdbscan"
    learns_on_val: ClassVar[bool] = True
    option_names: ClassVar[Mapping[str, str]] = {"k": "k", "min_cluster_size": "min_images"}

    k: int = NUM_NEIGHBOURS
    """neighbours of an image, itself among them, that its density is found with"""
    min_cluster_size: int = 4
    """images that make a cluster, 2 or more"""
    min_images: int | None = None
    """the neighbour, the image itself being the first, whose distance is its density; None: min_cluster_size"""

    def __post_init__(self) -> None:
        if self.min_cluster_size < 2:
            raise UserError(f"min_cluster_size={self.min_cluster_size}: hdbscan's smallest cluster has 2 images.")
        if self.min_images is not None and self.min_images < 1:
            raise UserError(f"min_images={self.min_images} must be 1 or more.")

    def fit(self, features: Array, labels: Array) -> Self:
        """Itself: there is nothing to learn."""
        return self

    def cluster(self, features: Array, graph: Graph | None = None) -> Clusters:
        if len(features) > MOST_IMAGES:
            raise UserError(
                f"hdbscan compares every image with every other: {len(features):,} images take hours, so it stops at"
                f" {MOST_IMAGES:,}. Take the clusterer components, dbscan or lander, which look at neighbours alone."
            )
        vectors, _ = comparable(features, features[:0], "cosine")
        graph = build_graph(vectors, self.k) if graph is None else graph
        record = {"clusterer": self.name, "k": self.k, "min_cluster_size": self.min_cluster_size}
        return clusters_of(self._partition(vectors), graph, record)

    def _partition(self, vectors: Tensor) -> Tensor:
        """(N,) int64, -1 for noise. Of unit vectors, the euclidean distance orders as the cosine does."""
        if len(vectors) < max(self.min_cluster_size, self.min_images or 0):
            return torch.full((len(vectors),), -1)
        if importlib.util.find_spec("sklearn") is None:
            raise UserError("hdbscan needs scikit-learn: pip install scikit-learn.")
        from sklearn.cluster import HDBSCAN

        engine = HDBSCAN(min_cluster_size=self.min_cluster_size, min_samples=self.min_images, copy=True)
        return torch.from_numpy(engine.fit_predict(vectors.cpu().numpy())).long()
