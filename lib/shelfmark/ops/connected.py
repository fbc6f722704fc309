"""Connected parts of a graph, without a loop over its nodes. Legend: N nodes, E edges."""

from __future__ import annotations

import torch
from torch import Tensor


def connected_components(source: Tensor, target: Tensor, num_nodes: int) -> Tensor:
    """(N,) int64: the lowest node of the part that each node lies in; a node without an edge is its own part.

    source, target: (E,) int64, an edge joins both its ends whichever way it points. On the edges' device.
    Each round hangs every part under its lowest neighbour, then shortens all paths to one step.
    """
    lowest = torch.arange(num_nodes, device=source.device)
    while True:
        ends = lowest[source], lowest[target]
        lower, higher = torch.minimum(*ends), torch.maximum(*ends)
        apart = lower != higher
        if not apart.any():
            return lowest
        source, target = source[apart], target[apart]
        lowest.scatter_reduce_(0, higher[apart], lower[apart], "amin")
        lowest = roots(lowest)


def roots(parent: Tensor) -> Tensor:
    """(N,) int64: the end of each node's way through its parents, by pointer jumping.

    parent: (N,) int64; a root is its own parent, and no way leads in a circle.
    """
    while True:
        further = parent[parent]
        if torch.equal(further, parent):
            return parent
        parent = further
