"""How a round selects: the thresholds that labelled images teach, and the labels that follow from them.

Legend: N images, n images held out or of the pool, C known classes, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from shelfmark.discovery.clusterers.clusters import Clusters
from shelfmark.discovery.clusterers.thresholded import Thresholded
from shelfmark.discovery.known import JoinRule, calibrate, distance_to_known
from shelfmark.discovery.lander import build_graph
from shelfmark.discovery.options import SelectionOptions
from shelfmark.discovery.select import WAITING, by_density, by_distance, by_size, compacted, joined
from shelfmark.discovery.thresholds import DensityThreshold, density_threshold
from shelfmark.ops.cluster_metrics import bcubed

Grouping = Callable[[Tensor], Clusters]
"""The fitted clusterer of the round: features (N, D) to clusters."""

Linked = TypeVar("Linked", bound=Thresholded)
_NUM_TRIALS = 32


def with_best_threshold(clusterer: Linked, features: Tensor, labels: Tensor) -> tuple[Linked, float | None]:
    """The clusterer with the least cosine of a link under which labelled images cluster best, and their BCubed F.

    The labelled images are clustered together with the pool. Among fewer products a wrong link is rarer, and a
    threshold that is learned there would join chains of products here. Of equally good thresholds the highest, which
    joins the fewest images. F is None, and the threshold 1, where no two images are neighbours.

    features: (N, D), the labelled images before those of the pool. labels: (n,) int64 of the labelled images.
    """
    graph = build_graph(features, clusterer.k)
    similarities = graph.similarities[graph.valid].double().sort().values.cpu()
    if not len(similarities):
        return replace(clusterer, threshold=1.0), None
    places = torch.linspace(0, len(similarities) - 1, _NUM_TRIALS).long()

    def score(threshold: float) -> float:
        found = replace(clusterer, threshold=threshold).cluster(features, graph)
        return bcubed(labels, found.labels[: len(labels)])[2]

    candidates = similarities[places].clamp(0, 1).unique().flip(0).tolist()
    scores = [score(threshold) for threshold in candidates]
    best = int(np.argmax(scores))
    return replace(clusterer, threshold=candidates[best]), scores[best]


def density_rule(
    group: Grouping, features: Tensor, labels: Tensor, pool: Tensor, target_precision: float
) -> DensityThreshold:
    """The density threshold at which held-out images reach the precision; see `density_threshold`.

    The held-out images are clustered together with the pool: among fewer images every cluster would be purer.
    features: (n, D) and labels: (n,) of the held-out images. pool: (n, D).
    """
    found, num_images = group(torch.cat([features, pool])), len(labels)
    return density_threshold(labels, found.labels[:num_images], found.density[:num_images], target_precision)


def join_rule(group: Grouping, features: Tensor, labels: Tensor, target_precision: float, seed: int) -> JoinRule:
    """When a cluster joins a known class, learned on held-out images with some of their classes as if known.

    The images that the model was trained on would promise too much: training brings images of one class together.
    features: (n, D) and labels: (n,), any numbers, of the held-out images.
    """
    return calibrate(
        features,
        labels.unique(return_inverse=True)[1],
        target_precision,
        clusters_of=lambda held_out: group(held_out).labels,
        seed=seed,
    )


def selected_labels(
    clusters: Tensor,
    density: Tensor,
    features: Tensor,
    known_means: Tensor,
    num_known: int,
    threshold: float,
    join: JoinRule | None,
    options: SelectionOptions,
) -> Tensor:
    """(n,) int64 labels of the pool: below C a known class, from C on a pseudo-class, -1 where not selected.

    Images denser than the threshold are selected; their clusters are joined to known classes; what the limits of the
    options refuse is left out. Pseudo-classes are numbered from C on without a gap.
    clusters, density: (n,). features: (n, D). known_means: (C, D), or fewer rows where the last
    classes have no image. num_known: C. threshold: of the density. join: None joins nothing.
    """
    mask = torch.full((len(clusters),), WAITING)
    labels, mask = by_density(clusters, density, threshold, num_known, mask)
    if join is not None:
        labels, mask = joined(labels, mask, join.classes(features, clusters, known_means), num_known)
    if options.min_distance_to_known:
        distance = distance_to_known(features, known_means)
        labels, mask = by_distance(labels, mask, distance, options.min_distance_to_known, num_known)
    labels, mask = by_size(labels, mask, options.min_size, options.max_size or None, num_known)
    return compacted(labels, num_known)
