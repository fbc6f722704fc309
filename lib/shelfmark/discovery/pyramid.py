"""The graphs that Hi-LANDER is trained on. Legend: N images, n nodes of a level, D embedding.

Source: Xing et al., "Learning Hierarchical Graph Neural Networks for Image Clustering", ICCV 2021, section 3.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from shelfmark.core.errors import UserError
from shelfmark.discovery.decode import decode
from shelfmark.discovery.lander import build_graph, density_from_labels
from shelfmark.discovery.means import means_by_label
from shelfmark.ops.graph import Graph
from shelfmark.ops.similarity import compute_dtype


@dataclass(frozen=True, eq=False)
class PyramidLevel:
    """One training graph. k: the node itself counts. level: 0 upwards. nodes: (n,) int64 rows of the images.

    features, labels: (n, D) normalised and (n,), the nodes' own. cluster_features: (n, D) mean of the features of all
    images in a node's cluster so far; its own features at level 0.
    """

    k: int
    level: int
    graph: Graph
    features: Tensor
    labels: Tensor
    cluster_features: Tensor
    nodes: Tensor


def pyramid(
    features: Tensor, labels: Tensor, ks: Sequence[int], levels: Sequence[int], engine: str = "auto"
) -> list[PyramidLevel]:
    """The levels of the pyramid of each k in turn, at most as many as its entry in `levels`.

    A level is coarsened by `decode` with the density that the labels give, the distance 1 - cosine and tau 0, so any
    neighbour of greater density and positive cosine can be a parent, also one of another class. Its peaks are the next
    level's nodes and keep their own features and labels. A pyramid ends early where nothing was joined, and there is
    no level of k nodes or fewer, the first included.

    features: (N, D), they are normalised. labels: (N,) int64. ks, levels: of equal length, 2 and 1 at least. A
    UserError where no level comes of it at all.
    """
    _require(features, labels, ks, levels)
    features = F.normalize(features.to(compute_dtype(features)), dim=1)
    # The graph of a smaller k is the first places of the largest one's.
    widest = build_graph(features, max(ks), engine=engine) if len(features) > min(ks) else None
    found = [
        level
        for k, num_levels in zip(ks, levels)
        if widest is not None and len(features) > k
        for level in _levels(features, labels, k, num_levels, _narrowed(widest, k), engine)
    ]
    if not found:
        raise UserError(
            f"{len(features)} labelled images are too few for a graph of k={min(ks)} nearest. "
            "Lower k, give more labelled images, or use a clusterer that is not trained."
        )
    return found


def _levels(
    features: Tensor, labels: Tensor, k: int, num_levels: int, graph: Graph, engine: str
) -> Iterator[PyramidLevel]:
    nodes = torch.arange(len(features), device=features.device)
    cluster_of, means = nodes, features
    for level in range(num_levels):
        yield PyramidLevel(k, level, graph, features[nodes], labels[nodes], means, nodes)
        if level == num_levels - 1:
            return
        density = density_from_labels(graph, labels[nodes])
        merged, peaks, _ = decode(graph, 1 - graph.similarities, density, tau=0)
        if len(peaks) == len(nodes) or len(peaks) <= k:
            return
        cluster_of, nodes = merged[cluster_of], nodes[peaks]
        means = means_by_label(features, cluster_of, len(nodes))
        graph = build_graph(features[nodes], k, engine=engine)


def _narrowed(graph: Graph, k: int) -> Graph:
    return Graph(graph.neighbours[:, : k - 1], graph.similarities[:, : k - 1], graph.valid[:, : k - 1])


def _require(features: Tensor, labels: Tensor, ks: Sequence[int], levels: Sequence[int]) -> None:
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(f"features {tuple(features.shape)} and labels {tuple(labels.shape)} must be (N, D) and (N,)")
    if not ks or len(ks) != len(levels):
        raise UserError(f"{len(ks)} values of k and {len(levels)} of levels: give one number of levels for each k.")
    if min(ks) < 2 or min(levels) < 1:
        raise UserError(
            f"k={list(ks)}, levels={list(levels)}: the image itself counts as one of its k nearest, so k is at least 2;"
            " levels are at least 1."
        )
