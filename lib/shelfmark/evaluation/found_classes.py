"""Scores of a round of discovery, where the true classes are known.

Legend: U unlabelled images, C known classes.

True labels are numbered like selections: a known class is 0..C-1, a new class C or above, -1 where the class is not
known. The origin of an image is `known` or `new`, as its class is. Formulas: docs/definitions.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from shelfmark.evaluation.clustering import agreement
from shelfmark.ops.class_metrics import Scores
from shelfmark.ops.cluster_metrics import pairwise, v_measure

ORIGINS = ("known", "new", "all")


def known_first(category_ids: np.ndarray, known_classes: Sequence[int]) -> np.ndarray:
    """(U,) int64 true labels: a known class's place in `known_classes`, C + the id of any other class, -1 for none.

    category_ids: (U,) of the annotations, -1 for none. known_classes: (C,) category ids, each once.
    """
    known = np.asarray(known_classes, dtype=np.int64)
    order = np.argsort(known)
    place = np.searchsorted(known, category_ids, sorter=order).clip(max=max(0, len(known) - 1))
    found = order[place] if len(known) else np.zeros(len(category_ids), dtype=np.int64)
    is_known = (known[found] == category_ids) if len(known) else np.zeros(len(category_ids), dtype=bool)
    labels = np.where(is_known, found, np.asarray(category_ids, dtype=np.int64) + len(known))
    return np.where(category_ids < 0, -1, labels)


def selection_counts(labels: np.ndarray, num_known: int) -> Scores:
    """num_images, num_selected, coverage, num_joined, num_joined_classes, num_pseudo and num_pseudo_classes.

    labels: (U,) below C joined to that known class, from C on a pseudo-class, -1 not selected. Needs no truth.
    """
    is_joined, is_pseudo = (labels >= 0) & (labels < num_known), labels >= num_known
    num_selected = int(is_joined.sum() + is_pseudo.sum())
    return {
        "num_images": len(labels),
        "num_selected": num_selected,
        "coverage": _share(num_selected, len(labels)),
        "num_joined": int(is_joined.sum()),
        "num_joined_classes": len(np.unique(labels[is_joined])),
        "num_pseudo": int(is_pseudo.sum()),
        "num_pseudo_classes": len(np.unique(labels[is_pseudo])),
    }


def selection_scores(true_labels: np.ndarray, labels: np.ndarray, num_known: int) -> dict[str, Scores]:
    """By origin (known, new, all): how many images were selected, and how many of the selected ones rightly.

    true_labels: (U,). labels: (U,) as in `selection_counts`. Images without truth are left out.
    """
    has_truth = true_labels >= 0
    true_labels, labels = true_labels[has_truth], labels[has_truth]
    right = _is_right(true_labels, labels, num_known)
    is_known = true_labels < num_known
    found = {}
    for origin, inside in zip(ORIGINS, (is_known, ~is_known, np.ones_like(is_known))):
        found[origin] = _origin_scores(true_labels[inside], labels[inside], right[inside], num_known)
    # An image of a new class is never rightly joined to a known class: the share would be 0 by definition.
    del found["new"]["joined_precision"]
    return found


def new_class_scores(true_labels: np.ndarray, labels: np.ndarray, num_known: int) -> Scores:
    """How many new classes the pseudo-classes stand for, and how many pseudo-classes stand for a known one.

    A pseudo-class stands for the class of most of its selected images; of equally frequent ones for the lowest.
    """
    has_truth = true_labels >= 0
    true_labels, labels = true_labels[has_truth], labels[has_truth]
    pseudo = labels >= num_known
    _, stands_for = _majority(true_labels[pseudo], labels[pseudo])
    num_new = len(np.unique(true_labels[true_labels >= num_known]))
    of_new = stands_for[stands_for >= num_known]
    num_found = len(np.unique(of_new))
    return {
        "num_new_classes": num_new,
        "num_new_classes_found": num_found,
        "new_classes_found": _share(num_found, num_new),
        "num_pseudo_classes_of_new": len(of_new),
        "num_pseudo_classes_of_known": len(stands_for) - len(of_new),
        "pseudo_classes_per_found": _share(len(of_new), num_found),
    }


def cluster_scores(
    true_labels: np.ndarray, labels: np.ndarray, clusters: np.ndarray, num_known: int
) -> dict[str, Scores]:
    """How well clusters agree with the true labels, of known, new and all images; and the labels of selected images.

    clusters: (U,) 0 or above, -1 for an image that was not clustered. Such an image is left out, and so is one without
    a true label.
    """
    is_clustered = (true_labels >= 0) & (clusters >= 0)
    is_known = true_labels < num_known
    masks = (is_clustered & is_known, is_clustered & ~is_known, is_clustered)
    found = {origin: _agreement(true_labels[mask], clusters[mask]) for origin, mask in zip(ORIGINS, masks)}
    is_selected = (true_labels >= 0) & (labels >= 0)
    return found | {"selected": _agreement(true_labels[is_selected], labels[is_selected])}


def size_histogram(clusters: np.ndarray, is_selected: np.ndarray) -> dict[str, Any]:
    """Sizes of the clusters: num_clusters, largest, median, mean, and `bins` of sizes 1, 2-3, 4-7, 8-15 and so on.

    clusters: (n,), -1 left out. is_selected: (n,) bool. A bin: its smallest and largest size, num_clusters, num_images,
    num_selected_clusters, which have a selected image, and num_selected_images. The last bin holds a cluster.
    """
    is_clustered = clusters >= 0
    _, index, sizes = np.unique(clusters[is_clustered], return_inverse=True, return_counts=True)
    num_selected = np.bincount(index, weights=is_selected[is_clustered], minlength=len(sizes)).astype(np.int64)
    doublings = np.frexp(sizes)[1] - 1
    bins = []
    for number in range(int(doublings.max(initial=-1)) + 1):
        inside = doublings == number
        bins.append(
            {
                "smallest": 2**number,
                "largest": 2 ** (number + 1) - 1,
                "num_clusters": int(inside.sum()),
                "num_images": int(sizes[inside].sum()),
                "num_selected_clusters": int((num_selected[inside] > 0).sum()),
                "num_selected_images": int(num_selected[inside].sum()),
            }
        )
    return {
        "num_clusters": len(sizes),
        "largest": int(sizes.max()) if len(sizes) else None,
        "median": float(np.median(sizes)) if len(sizes) else None,
        "mean": float(sizes.mean()) if len(sizes) else None,
        "bins": bins,
    }


def _origin_scores(true_labels: np.ndarray, labels: np.ndarray, right: np.ndarray, num_known: int) -> Scores:
    is_selected, is_pseudo = labels >= 0, labels >= num_known
    is_joined = is_selected & ~is_pseudo
    return selection_counts(labels, num_known) | {
        "precision": _mean(right[is_selected]),
        "joined_precision": _mean(right[is_joined]),
        "pseudo_purity": _mean(right[is_pseudo]),
        "pairwise_precision": _number(pairwise(true_labels[is_selected], labels[is_selected])[0]),
    }


def _is_right(true_labels: np.ndarray, labels: np.ndarray, num_known: int) -> np.ndarray:
    """(n,) bool: the image is joined to its own class, or its pseudo-class stands for its class."""
    right = (labels >= 0) & (labels < num_known) & (labels == true_labels)
    pseudo = np.flatnonzero(labels >= num_known)
    groups, stands_for = _majority(true_labels[pseudo], labels[pseudo])
    right[pseudo] = stands_for[np.searchsorted(groups, labels[pseudo])] == true_labels[pseudo]
    return right


def _majority(true_labels: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The groups, and the most frequent label of each; of equally frequent labels the lowest."""
    cells, counts = np.unique(np.stack([groups, true_labels]), axis=1, return_counts=True)
    # Within a group labels rise, and a stable sort keeps them so among equal counts.
    order = np.lexsort((-counts, cells[0]))
    names, first = np.unique(cells[0][order], return_index=True)
    return names, cells[1][order][first]


def _agreement(true_labels: np.ndarray, clusters: np.ndarray) -> Scores:
    counts: Scores = {"num_images": len(clusters), "num_clusters": len(np.unique(clusters))}
    parts = zip(("homogeneity", "completeness"), v_measure(true_labels, clusters))
    return counts | agreement(true_labels, clusters) | {name: _number(value) for name, value in parts}


def _mean(flags: np.ndarray) -> float | None:
    return float(flags.mean()) if len(flags) else None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
