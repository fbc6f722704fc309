"""What every clusterer gives, and how it is called. Legend: N images, D embedding, K neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.types import Array
from shelfmark.ops.graph import Graph, same_class

NUM_NEIGHBOURS = 10
"""The k of every clusterer where nothing else is said."""


@dataclass(frozen=True, eq=False)
class Clusters:
    """A cluster for each image, and how sure it is.

    labels: (N,) int64, 0 to the number of clusters - 1, numbered by their first image; an image that belongs nowhere
    is a cluster of one. density: (N,) float32. record: what the clusterer did, as JSON holds it. All on the CPU.
    """

    labels: Tensor
    density: Tensor
    record: dict[str, Any]

    @property
    def num_clusters(self) -> int:
        return int(self.labels.max()) + 1 if len(self.labels) else 0


class Clusterer(Protocol):
    """Groups images by their features alone. A frozen dataclass with a line in the table CLUSTERERS.

    name: in the table. learns_on_val: whether `fit` wants classes that the model was not trained on, where
    discovery.clusterer.fit_on is auto. option_names: its fields and, of each, the option in `ClustererOptions`; empty:
    the fields that have an option's name, and `seed`.
    """

    name: ClassVar[str]
    learns_on_val: ClassVar[bool]
    option_names: ClassVar[Mapping[str, str]]
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def k(self) -> int:
        """How many nearest images the graph links an image to, itself among them."""

    def fit(self, features: Array, labels: Array) -> Self:
        """The clusterer with what it still lacks, such as a threshold, learned from labelled images."""

    def cluster(self, features: Array, graph: Graph | None = None) -> Clusters:
        """features: (N, D), of any length. graph: that of these features with this k, where it is there already."""


def clusters_of(partition: Tensor, graph: Graph, record: dict[str, Any]) -> Clusters:
    """Clusters by any numbers of a partition (N,), -1 for an image that belongs nowhere; density by the neighbours."""
    labels = numbered(partition.to(graph.neighbours.device))
    density = neighbour_density(graph, labels).float()
    counts = {"num_images": len(labels), "num_clusters": int(labels.max()) + 1 if len(labels) else 0}
    return Clusters(labels.cpu(), density.cpu(), record | counts)


def numbered(partition: Tensor) -> Tensor:
    """(N,) int64 numbers 0, 1, ... of the parts in the order of their first member; every -1 is a part of its own."""
    alone = partition < 0
    places = torch.arange(len(partition), device=partition.device)
    above = int(partition.max()) + 1 if len(partition) else 0
    parts, of_part = torch.where(alone, places + above, partition).unique(return_inverse=True)
    first = torch.full((len(parts),), len(partition), device=partition.device)
    first = first.scatter_reduce_(0, of_part, places, "amin")
    return first.argsort().argsort()[of_part]


def rows_of(features: Array, chosen: Tensor) -> Array:
    """The rows of features (N, D) where `chosen`, (N,) bool on the CPU, is true."""
    return features[chosen.numpy()] if isinstance(features, np.ndarray) else features[chosen.to(features.device)]


def neighbour_density(graph: Graph, labels: Tensor) -> Tensor:
    """(N,) mean cosine of each node with those of its neighbours that are in its cluster; 0 where there is none.

    labels: (N,). For clusterers that have no density of their own.
    """
    together = same_class(graph, labels)
    total = (graph.similarities * together).sum(dim=1)
    return total / together.sum(dim=1).clamp_min(1)
