"""Thresholds that labelled images teach. Legend: N images, E edges, T thresholds tried.

The labelled images are those of classes that no model was trained on, so that they are to it what a new product is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shelfmark.core.errors import UserError, choose
from shelfmark.ops import cluster_metrics
from shelfmark.ops.connected import connected_components
from shelfmark.ops.graph import Graph

SCORES = ("bcubed", "pairwise")
_STEPS = 32


@dataclass(frozen=True)
class DensityThreshold:
    """Select where the density is strictly above `value`.

    precision: the share of pairs of selected images in one cluster that are of one class, coverage: the share of images
    selected, both on the images of calibration. is_reached: whether the precision is the one that was asked for;
    otherwise `value` is the best there is and `reason` says so. precision is None where no pair is selected.
    """

    value: float
    precision: float | None
    coverage: float
    is_reached: bool
    reason: str = ""


@dataclass(frozen=True)
class SimilarityThreshold:
    """Link where the cosine is at least `value`. f: the F score of the components on the images of calibration."""

    value: float
    f: float
    score: str


def density_threshold(labels: Tensor, clusters: Tensor, density: Tensor, target_precision: float) -> DensityThreshold:
    """The lowest threshold of which the selected images reach the pairwise precision; in O(N log N).

    labels: (N,) int64 true classes, none of which taught the clusterer. clusters: (N,) int64 of these images by the
    clusterer that is used on the real pool, a negative one is never selected. density: (N,). A pool with many more
    classes has more look-alikes among them, and reaches a lower precision.

    If no threshold reaches the target, the threshold with the greatest precision is taken, and of equal ones the
    lowest. If no two images share a cluster, there is nothing to measure; the threshold is then 1, or the greatest
    density if that is more, which selects nothing.
    """
    if not 0 < target_precision <= 1:
        raise UserError(f"target_precision={target_precision}: expected above 0, at most 1.")
    num_images, (labels, clusters, density) = len(labels), _clustered(labels, clusters, density)
    density, order = density.sort(descending=True, stable=True)
    num_pairs, num_right = _pairs_so_far(labels[order], clusters[order])
    # Equal densities are selected together or not at all; a threshold is the next lower density.
    next_lower = torch.cat([density[1:], density.new_full((min(1, len(density)),), -torch.inf)])
    is_end = (next_lower < density) & (num_pairs > 0)
    if not is_end.any():
        value = max([1.0, *density[:1].tolist()])
        return DensityThreshold(value, None, 0.0, False, "no two held-out images share a cluster; nothing is selected")
    precision = (num_right / num_pairs).masked_fill(~is_end, -1)
    is_good = precision >= target_precision
    is_reached = bool(is_good.any())
    last = int((is_good if is_reached else precision == precision.max()).nonzero()[-1])
    # Below every density of this set, and below the least that a density can be in another.
    value = float(next_lower[last]) if last + 1 < len(density) else min(-1.0, float(density[last]) - 1)
    reason = "" if is_reached else f"no threshold reaches the precision {target_precision:g}; this is the best one"
    return DensityThreshold(value, float(precision[last]), (last + 1) / num_images, is_reached, reason)


def similarity_threshold(graph: Graph, labels: Tensor, score: str = "bcubed") -> SimilarityThreshold:
    """The threshold whose connected components have the best F score against the labels; of equal ones the highest.

    32 quantiles of the similarities are tried first, then 32 between the neighbours of the best. Components only grow
    as the threshold falls, so each step adds its edges to the components of the step before: O(E log E + T N log N).

    labels: (N,) int64 true classes. score: `bcubed` counts images, `pairwise` counts pairs, and so large classes more.
    """
    choose("score", score, SCORES)
    similarities = graph.similarities[graph.valid].unique()
    if not len(similarities):
        raise UserError(
            "no two of the labelled images are neighbours, so no similarity can be chosen for linking them."
        )
    labels = labels.to(graph.neighbours.device)
    coarse = _quantiles(similarities)
    best = _best(graph, labels, coarse, score)
    place = int((coarse == best.value).nonzero()[0])
    low, high = coarse[max(0, place - 1)], coarse[min(len(coarse) - 1, place + 1)]
    finer = _best(graph, labels, _quantiles(similarities[(similarities >= low) & (similarities <= high)]), score)
    return max(best, finer, key=lambda found: (found.f, found.value))


def _best(graph: Graph, labels: Tensor, thresholds: Tensor, score: str) -> SimilarityThreshold:
    """thresholds: (T,) rising."""
    sources, places = graph.valid.nonzero(as_tuple=True)
    targets, similarity = graph.neighbours[sources, places], graph.similarities[sources, places]
    step = torch.searchsorted(thresholds, similarity, right=True) - 1
    metric = cluster_metrics.bcubed if score == "bcubed" else cluster_metrics.pairwise
    component, found = torch.arange(len(labels), device=labels.device), list[SimilarityThreshold]()
    for number in reversed(range(len(thresholds))):
        added = step == number
        ends = component[sources[added]], component[targets[added]]
        component = connected_components(*ends, len(labels))[component]
        f = metric(labels, component)[2]
        found.append(SimilarityThreshold(float(thresholds[number]), 0.0 if np.isnan(f) else f, score))
    return max(found, key=lambda one: (one.f, one.value))


def _quantiles(values: Tensor) -> Tensor:
    """At most T of the rising values, evenly by rank, the first and the last among them."""
    places = torch.linspace(0, len(values) - 1, min(_STEPS, len(values)), dtype=torch.float64)
    return values[places.round().long().to(values.device)]


def _clustered(labels: Tensor, clusters: Tensor, density: Tensor) -> list[Tensor]:
    if not labels.shape == clusters.shape == density.shape:
        raise ValueError(
            f"labels {tuple(labels.shape)}, clusters {tuple(clusters.shape)} and density {tuple(density.shape)}: "
            "expected (N,) each"
        )
    kept = (clusters >= 0).cpu()
    return [values.cpu()[kept] for values in (labels, clusters, density)]


def _pairs_so_far(labels: Tensor, clusters: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) float64 each: pairs in one cluster among the first 1, 2, ... images, and those of one class too.

    An image makes as many new pairs as its cluster had images before it.
    """
    cluster = clusters.unique(return_inverse=True)[1]
    cell = (labels.unique(return_inverse=True)[1] * (len(cluster) + 1) + cluster).unique(return_inverse=True)[1]
    return _earlier(cluster).cumsum(0).double(), _earlier(cell).cumsum(0).double()


def _earlier(groups: Tensor) -> Tensor:
    """(N,) int64 how many of the images before it are of an image's own group. groups: (N,), 0 upwards."""
    order = groups.argsort(stable=True)
    sizes = torch.bincount(groups)
    starts = sizes.cumsum(0) - sizes
    earlier = torch.empty_like(groups)
    earlier[order] = torch.arange(len(groups)) - starts[groups[order]]
    return earlier
