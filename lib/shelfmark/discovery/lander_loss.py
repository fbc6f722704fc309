"""The loss of Hi-LANDER. Legend: N nodes, n nodes with predictions, K places for neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from shelfmark.ops.draws import uniform
from shelfmark.ops.graph import Graph, density_from_labels, same_class

_FOCAL_GAMMA = 2


@dataclass(frozen=True)
class Targets:
    """What the labels of a graph say: density (N,), is_same (N, K) bool, and mask (N, K) bool, the edges that count.

    An edge counts where the labels make the neighbour denser than the node.
    """

    density: Tensor
    is_same: Tensor
    mask: Tensor

    @classmethod
    def of(cls, graph: Graph, labels: Tensor) -> Targets:
        """labels: (N,) whole numbers."""
        density = density_from_labels(graph, labels)
        mask = graph.valid & (density[graph.neighbours] > density[:, None])
        return cls(density, same_class(graph, labels), mask)


def loss(
    same_probability: Tensor,
    density: Tensor,
    graph: Graph,
    labels: Tensor,
    *,
    focal: bool = False,
    balance: bool = False,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """(total, density part, link part), 0-dim: total is the sum of the two.

    The density part is the mean squared error of `density` (N,) against that of the labels. The link part is the mean
    over masked edges of -log p of the truth, p from same_probability (N, K, 2); 0 where no edge is masked. focal: times
    (1 - p)^2. balance: of masked edges as many within a class as between classes, drawn from the seed.
    Source: Xing et al. 2021, section 3.4; the focal factor Lin et al. 2017.
    """
    tiny = torch.finfo(same_probability.dtype).tiny
    log_probability = same_probability.clamp_min(tiny).log()
    rows = torch.arange(graph.num_nodes, device=density.device)
    draw = (seed, 0) if balance else None
    return parts(log_probability, density, Targets.of(graph, labels), rows, focal=focal, draw=draw)


def parts(
    log_probability: Tensor,
    density: Tensor,
    targets: Targets,
    nodes: Tensor,
    *,
    focal: bool = False,
    draw: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """`loss` of some nodes, their rows given: log_probability (n, K, 2), density (n,), nodes (n,).

    draw: seed and step for the balance; None for none.
    """
    density_part = F.mse_loss(density, targets.density[nodes].to(density))
    mask, is_same = targets.mask[nodes], targets.is_same[nodes]
    if draw is not None:
        mask = balanced(mask, is_same, nodes, *draw)
    # The sum runs over all places, masked: a selection would make the host wait for the device.
    of_truth = log_probability.gather(2, is_same.long()[:, :, None])[:, :, 0]
    penalty = -of_truth
    if focal:
        penalty = penalty * (1 - of_truth.exp()) ** _FOCAL_GAMMA
    link_part = torch.where(mask, penalty, 0.0).sum() / mask.sum().clamp_min(1)
    return density_part + link_part, density_part, link_part


def balanced(mask: Tensor, is_same: Tensor, nodes: Tensor, seed: int, step: int) -> Tensor:
    """The mask (n, K) with as many edges within a class as between classes: the surplus is left out at random.

    If there are edges of one kind only, none is left.
    """
    drawn = uniform(seed, step, nodes, mask.shape[1])
    kept = torch.zeros_like(mask)
    fewest = min(int((mask & is_same).sum()), int((mask & ~is_same).sum()))
    for group in (mask & is_same, mask & ~is_same):
        places = drawn.masked_fill(~group, 2.0).flatten().argsort(stable=True)[:fewest]
        kept.view(-1)[places] = True
    return kept
