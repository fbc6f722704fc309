"""Clusters of one graph: each node follows one denser neighbour, and a tree is a cluster.

Legend: N nodes, K neighbours a node. Source: Xing et al., "Learning Hierarchical Graph Neural Networks for
Image Clustering", ICCV 2021, section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from shelfmark.core.errors import UserError
from shelfmark.ops.connected import roots
from shelfmark.ops.graph import Graph


def decode(graph: Graph, not_same_probability: Tensor, density: Tensor, tau: float) -> tuple[Tensor, Tensor, Tensor]:
    """(labels, peaks, parent): int64 (N,) clusters of the nodes, (peaks,) rising roots, (N,) parents of the nodes.

    A candidate parent is a valid neighbour of strictly greater density at a distance strictly below 1 - tau. The
    nearest candidate is the parent, the first in the order of the neighbours where several are equally near; without
    one the node is a peak and its own parent. So densities rise towards a root and nothing can go round in circles.
    Labels number the roots in the order of the nodes.

    not_same_probability: (N, K) the probability itself that two nodes are of different classes, which is the distance.
    Not 1 less that of the same class: that rounds to 0 for a confident network, and the ties change the result. For
    the distance of cosines pass 1 - graph.similarities. density: (N,), any score. tau: 0..1, higher is purer.
    """
    neighbours = graph.neighbours
    if not_same_probability.shape != neighbours.shape or density.shape != neighbours.shape[:1]:
        raise ValueError(
            f"distances {tuple(not_same_probability.shape)} and densities {tuple(density.shape)} do not fit a graph of"
            f" {tuple(neighbours.shape)} neighbours"
        )
    if not 0 <= tau <= 1:
        raise UserError(f"tau={tau}: expected 0 to 1. Links are kept where the distance is below 1 - tau.")
    parent = torch.arange(len(neighbours), device=neighbours.device)
    if neighbours.numel():
        is_candidate = graph.valid & (density[neighbours] > density[:, None]) & (not_same_probability < 1 - tau)
        nearest = not_same_probability.masked_fill(~is_candidate, torch.inf).argmin(dim=1, keepdim=True)
        has_parent = is_candidate.gather(1, nearest)[:, 0]
        parent = torch.where(has_parent, neighbours.gather(1, nearest)[:, 0], parent)
    labels, peaks = _numbered_trees(parent)
    return labels, peaks, parent


def _numbered_trees(parent: Tensor) -> tuple[Tensor, Tensor]:
    """(labels, roots) of a forest, (N,) and (peaks,) int64: trees numbered by their roots, in the order of the nodes.

    parent: (N,) int64, a root is its own parent; no circles.
    """
    root = roots(parent)
    is_root = root == torch.arange(len(root), device=root.device)
    return (is_root.cumsum(0) - 1)[root], is_root.nonzero()[:, 0]
