"""How well clusters of the embedding agree with the labels. Legend: N images, C classes, D embedding."""

from __future__ import annotations

import numpy as np
import torch

from shelfmark.core.types import Array
from shelfmark.ops.class_metrics import Scores
from shelfmark.ops.cluster_metrics import bcubed, nmi, pairwise
from shelfmark.retrieval.faiss_exact import k_means
from shelfmark.retrieval.vectors import comparable


def cluster_scores(
    features: Array, labels: Array, metric: str = "cosine", seed: int = 0, num_clusters: int | None = None
) -> Scores:
    """nmi, and pairwise_ and bcubed_ precision, recall and f of k-means clusters; None for a share of nothing.

    features: (N, D); labels: (N,), images labelled -1 are left out. num_clusters: by default C, the number of classes
    that have an image here. metric: cosine clusters vectors divided by their lengths, euclidean and dot as they are.
    """
    labels = torch.as_tensor(labels).cpu().numpy()
    is_labelled = labels >= 0
    labels = labels[is_labelled]
    vectors, _ = comparable(features[is_labelled], features[:0], metric)
    num_clusters = len(np.unique(labels)) if num_clusters is None else num_clusters
    clusters = k_means(vectors, num_clusters, seed)
    return agreement(labels, clusters) | {"num_clusters": num_clusters}


def agreement(labels: Array, clusters: Array) -> Scores:
    """pairwise_ and bcubed_ precision, recall and f of clusters against labels, and nmi; None for a share of nothing.

    labels, clusters: (N,) any whole numbers.
    """
    scores: Scores = {}
    for name, score in (("pairwise", pairwise), ("bcubed", bcubed)):
        for part, value in zip(("precision", "recall", "f"), score(labels, clusters)):
            scores[f"{name}_{part}"] = value
    scores["nmi"] = nmi(labels, clusters)
    return {name: None if value is None or np.isnan(value) else value for name, value in scores.items()}
