"""Spherical k-means: good where the products have equally many images, which they seldom have. Legend: N images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch

from shelfmark.core.errors import UserError
from shelfmark.core.types import Array
from shelfmark.discovery.clusterers.clusters import NUM_NEIGHBOURS, Clusters, clusters_of
from shelfmark.discovery.lander import build_graph
from shelfmark.ops.graph import Graph
from shelfmark.retrieval.faiss_exact import k_means
from shelfmark.retrieval.vectors import comparable


@dataclass(frozen=True, kw_only=True)
class KMeans:
    """Cells of centres on the sphere, by faiss. How many: given, or one for every `images_per_cluster` images."""

    name: ClassVar[str] = "kmeans"
    learns_on_val: ClassVar[bool] = True
    option_names: ClassVar[Mapping[str, str]] = {}

    k: int = NUM_NEIGHBOURS
    """neighbours of an image, itself among them, that its density is found with"""
    num_clusters: int | None = None
    """None: by images_per_cluster"""
    images_per_cluster: float | None = None
    """None: as many as a labelled class has on average"""
    iterations: int = 20
    """of Lloyd's algorithm"""
    seed: int = 0
    """draws the first centres among the images"""

    def __post_init__(self) -> None:
        for option in ("num_clusters", "images_per_cluster", "iterations"):
            value = getattr(self, option)
            if value is not None and not value > 0:
                raise UserError(f"{option}={value} must be above 0.")

    def fit(self, features: Array, labels: Array) -> Self:
        """With the labelled classes' mean number of images, where nothing says how many clusters. -1 is no label."""
        if self.num_clusters is not None or self.images_per_cluster is not None:
            return self
        labels = torch.as_tensor(labels)
        counts = labels[labels >= 0].unique(return_counts=True)[1]
        if not len(counts):
            raise UserError("kmeans: give num_clusters, for there is no labelled class to learn a class's size from.")
        return replace(self, images_per_cluster=float(counts.double().mean()))

    def cluster(self, features: Array, graph: Graph | None = None) -> Clusters:
        vectors, _ = comparable(features, features[:0], "cosine")
        num_clusters = self._number(len(vectors))
        cells = k_means(vectors, num_clusters, self.seed, self.iterations, spherical=True) if len(vectors) else None
        graph = build_graph(vectors, self.k) if graph is None else graph
        record = {"clusterer": self.name, "k": self.k, "num_centres": num_clusters, "iterations": self.iterations}
        return clusters_of(torch.empty(0, dtype=torch.int64) if cells is None else cells, graph, record)

    def _number(self, num_images: int) -> int:
        if self.num_clusters is not None:
            return min(self.num_clusters, num_images)
        if self.images_per_cluster is None:
            raise UserError("kmeans: give num_clusters or images_per_cluster, or call fit with labelled images first.")
        return min(num_images, max(1, round(num_images / self.images_per_cluster)))
