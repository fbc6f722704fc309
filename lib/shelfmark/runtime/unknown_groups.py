"""Boxes that no product answers, grouped so that a person names each new product once. Legend: N boxes, D embedding."""

from __future__ import annotations

import numpy as np

from shelfmark.core.log import say
from shelfmark.core.rng import numpy_generator
from shelfmark.discovery.clusterers import Clusterer, Components, LanderClusterer
from shelfmark.discovery.clusterers.fitted import fitted_clusterer, named
from shelfmark.runtime.searcher import Searcher

MOST_LEARNED = 5_000
USUAL_THRESHOLD = 0.7
"""Least cosine of two boxes of one group where the index cannot teach it."""


def unknown_groups(searcher: Searcher, features: np.ndarray) -> np.ndarray:
    """(N,) int64: the group of each box by its features (N, D); groups are numbered from 0 by falling size.

    The clusterer of the recipe (discovery.clusterer) learns its threshold on the images of the index.
    """
    if len(features) < 2:
        return np.zeros(len(features), dtype=np.int64)
    found = _clusterer(searcher).cluster(features).labels.numpy()
    sizes = np.bincount(found)
    return np.argsort(np.argsort(-sizes, kind="stable"))[found]


def _clusterer(searcher: Searcher) -> Clusterer:
    options, labels = searcher.model.recipe.discovery.clusterer, searcher.index.records.labels
    counts = np.bincount(labels[labels >= 0], minlength=1)
    rows = np.flatnonzero((labels >= 0) & (counts[labels] > 1))
    if not len(rows):
        say(f"unknown boxes: no product of the index has two images, so boxes of cosine {USUAL_THRESHOLD} are a group")
        return Components(k=options.k, threshold=USUAL_THRESHOLD)
    options = named(options, int((counts > 1).sum()))
    if options.name == LanderClusterer.name:
        # Its network would be trained now.
        options = options.model_copy(update={"name": Components.name})
    rows = _whole_classes(rows, labels, searcher.model.recipe.seed)
    return fitted_clusterer(options, searcher.index.vectors()[rows], labels[rows], searcher.model.recipe.seed)


def _whole_classes(rows: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Rows of whole classes, MOST_LEARNED at most but for one class, drawn by the seed."""
    if len(rows) <= MOST_LEARNED:
        return rows
    classes = numpy_generator(seed, "classes that teach groups").permutation(np.unique(labels[rows]))
    sizes = np.bincount(labels[rows])[classes]
    kept = classes[: int(np.searchsorted(np.cumsum(sizes), MOST_LEARNED)) + 1]
    return rows[np.isin(labels[rows], kept)]
